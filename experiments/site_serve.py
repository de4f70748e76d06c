"""`experiments.site serve`: the program that has a site's data and answers engines."""

from collections.abc import Sequence
import pathlib

from absl import flags

from experiments import command_line
from fl_research import settings as settings_lib
from fl_research import tasks
from fl_research.registry import UsageError

INTRODUCTION = """
Answers experimenters' requests for training on this machine's data, as far as the policy and its
owner allow it. The data stay here. It runs until it is stopped (Ctrl-C, or SIGTERM), and may be
started again at any time: runs go on where they were.

  python -m experiments.site serve --name=north --folder=north --listen=unix:/srv/fl/north.sock \\
      --data_file=patients.csv --label_column=ill

A table's columns get the roles that experiments.import_data shows; means, categories and classes
are found out together with the other sites, from sums.
"""

SUMMARY = "the program that has the site's data and answers engines"

OWN = {
  'name': 'what the others call this site',
  'folder': 'where requests, budget, log and what clients keep are; made where there is none',
  'listen': 'where requests come in: unix:/path/of/a.sock, or 127.0.0.1:PORT with --token_file',
  'policy': "the owner's policy; when empty, policy.toml in the folder",
  'token_file': 'of a port: what both ends must know; made where there is none',
  'clients': 'of a task with clients, those of this site, with commas between',
}
_NEEDED = ('name', 'folder', 'listen')
_DATA = (
  *('task', 'data_dir', 'seed', 'num_clients', 'partition', 'own_test_fraction'),
  *('synthetic_alpha', 'synthetic_beta', 'sequence_length'),
)


def settings_names() -> list[str]:
  """The settings that say where a site's data are and how they are read."""
  read = [name for task in tasks.TASKS.values() for name in task.reads]
  return list(dict.fromkeys([*read, *_DATA]))


def help_groups() -> dict[str, list[str]]:
  """The flags, by group."""
  own = [line for name, text in OWN.items() for line in command_line.flag_help(name, text)]
  return {'The site': own, 'Its data': command_line.changes_help(settings_names())}


def main(argv: Sequence[str]) -> int:
  """Runs the command; `argv` begins with the program's name."""
  names = settings_names()
  flag_values = flags.FlagValues()
  command_line.parse_own(flag_values, argv, OWN, _NEEDED, names)
  value = lambda name: flag_values[name].value
  settings = settings_lib.from_flags(command_line.to_changes(flag_values, names))
  settings = settings_lib.complete(settings, command_line.say)
  if not settings.task:
    raise UsageError('--task or --data_file: one of them says what data this site has')
  from fl_research.federation import guard, policy, serving
  from fl_research.soundness import validation

  validation.check_fields(settings)
  validation.check_own_data(settings)
  folder = pathlib.Path(value('folder'))
  rules = policy.read(pathlib.Path(value('policy') or folder / 'policy.toml'))
  serving.serve(
    value('name'),
    folder,
    value('listen'),
    guard.Guard(folder, rules, settings.task),
    settings,
    [name for name in value('clients').split(',') if name],
    pathlib.Path(value('token_file')) if value('token_file') else None,
    command_line.say,
  )
  return 0

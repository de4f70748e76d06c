"""The owner's commands at a site: what was asked for, what is let through, what has left."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import pathlib
import textwrap
import threading
from typing import Any

from absl import flags

from experiments import command_line, site_serve
from fl_research import registry
from fl_research.federation import (
  audit_log,
  budget,
  guard,
  plain_words,
  requests,
  signer,
  signing,
)
from fl_research.federation import policy as policies
from fl_research.registry import UsageError

INTRODUCTION = """
What the owner of data has of a federation: requests of experimenters, approved or denied by the
policy or by a person; the privacy they have spent; the log of all that has left.
docs/federation_policy.md goes through it with an example.

  python -m experiments.site policy --check --policy=policy.toml
  python -m experiments.site requests --folder=site
  python -m experiments.site show 3f2a --folder=site
  python -m experiments.site approve 3f2a --note="as agreed with the board" --folder=site
"""
_WIDTH = 100
_SERVE = 'serve'


@dataclasses.dataclass(frozen=True)
class Flag:
  """A flag of a command: its default, whose type it has, and its help."""

  default: Any
  help: str


@dataclasses.dataclass(frozen=True)
class Command:
  """A line of the table of commands.

  Attributes:
    run: `(flags, arguments) -> exit code`.
    help: what it does, in a line.
    arguments: those without `--` that must be given.
    flags: its own, besides `--folder` and `--policy`.
  """

  run: Callable[[flags.FlagValues, list[str]], int]
  help: str
  arguments: tuple[str, ...] = ()
  flags: Mapping[str, Flag] = dataclasses.field(default_factory=dict)


_DEFINE = {
  bool: flags.DEFINE_bool,
  int: flags.DEFINE_integer,
  str: flags.DEFINE_string,
}
_EVERYWHERE = {
  'folder': Flag('site', "the site's folder: requests, budget and log"),
  'policy': Flag('', "the owner's policy; when empty, policy.toml in the folder"),
}


def read_policy(values: flags.FlagValues) -> policies.Policy:
  """The policy that `--policy` and `--folder` give."""
  return policies.read(pathlib.Path(values.policy or _folder(values) / 'policy.toml'))


def open_guard(values: flags.FlagValues) -> guard.Guard:
  """The guard of the folder that the flags give."""
  return guard.Guard(_folder(values), read_policy(values))


def _folder(values: flags.FlagValues) -> pathlib.Path:
  folder = pathlib.Path(values.folder)
  if not folder.is_dir():
    raise UsageError(f'--folder={folder}: there is no such folder')
  return folder


def _requests(values: flags.FlagValues, arguments: list[str]) -> int:
  del arguments
  status = values.status
  if status and status not in requests.STATUSES:
    raise UsageError(f'--status={status}: accepted is {", ".join(requests.STATUSES)}, or empty')
  found = requests.Store(_folder(values) / guard.REQUESTS).all()
  shown = [request for request in found if status in ('', request.status)]
  for request in shown:
    asked = request.asked.replace('T', ' ')[:16]
    headline = plain_words.headline(request.proposal)
    print(f'{guard.short(request.run_id)}  {request.status:9}  {asked}  {headline}')
  if not shown:
    print('No requests.' if not status else f'No requests are {status}.')
  return 0


def _show(values: flags.FlagValues, arguments: list[str]) -> int:
  own = open_guard(values)
  request = own.requests.find(arguments[0])
  print(f'Request {request.run_id}\n')
  for heading, sentences in own.describe(request.proposal).items():
    if sentences:
      print(heading)
      print('\n'.join(_wrapped(sentence) for sentence in sentences) + '\n')
  print(f'Status: {request.status}, by the {request.by}')
  for sentence in (*request.reasons, *((f'Note: {request.note}',) if request.note else ())):
    print(_wrapped(sentence))
  if request.status == requests.WAITING:
    begin = guard.short(request.run_id)
    print(f'\nTo decide:\n  approve {begin} [--note=…]\n  deny {begin} --reason=…')
  return 0


def _wrapped(sentence: str) -> str:
  return textwrap.fill(sentence, _WIDTH, initial_indent='  ', subsequent_indent='    ')


def _approve(values: flags.FlagValues, arguments: list[str]) -> int:
  own = open_guard(values)
  request = own.requests.find(arguments[0])
  own.approve(request.run_id, values.note)
  print(f'Approved: {plain_words.headline(request.proposal)}')
  return 0


def _deny(values: flags.FlagValues, arguments: list[str]) -> int:
  if not values.reason:
    raise UsageError('--reason: must be given; the experimenter reads it')
  own = open_guard(values)
  request = own.requests.find(arguments[0])
  own.deny(request.run_id, values.reason)
  print(f'Denied: {plain_words.headline(request.proposal)}')
  return 0


def _log(values: flags.FlagValues, arguments: list[str]) -> int:
  del arguments
  path = _folder(values) / guard.LOG
  fault = audit_log.verify(path, values.noted)
  if fault:
    print(f'{path}: {fault}')
    return 1
  if values.verify or values.noted:
    count = sum(1 for _ in audit_log.entries(path))
    print(f'{plain_words.counted(count, "line")}, each follows from the one before it.')
    print(f'To be noted elsewhere: {audit_log.head_hash(path)}')
  else:
    for entry in reversed(audit_log.newest(path, values.lines)):
      print(plain_words.log_line(entry))
  return 0


def _budget(values: flags.FlagValues, arguments: list[str]) -> int:
  del arguments
  own = open_guard(values)
  data_sets = own.ledger.data_sets()
  for data_set, runs in data_sets.items():
    delta = own.policy.privacy.delta_of(data_set)
    most = own.policy.privacy.budget(data_set).most_epsilon
    spent = policies.epsilon_text(budget.epsilon(runs, delta))
    limit = 'no limit' if most is None else f'of {most:g}'
    print(f'{data_set}: epsilon {spent} ({limit}) at delta {delta:g}')
    for run_id, run in runs.items():
      alone = policies.epsilon_text(budget.epsilon({run_id: run}, delta))
      rounds = plain_words.counted(len(run.rounds), 'round')
      print(f'  {guard.short(run_id)}  {rounds}, alone epsilon {alone}')
  if not data_sets:
    print('Nothing has been spent.')
  return 0


def _policy(values: flags.FlagValues, arguments: list[str]) -> int:
  del arguments
  rules = read_policy(values)
  if values.check:
    print('The policy is understood.')
    return 0
  for section, sentences in plain_words.describe_policy(rules).items():
    print(f'[{section}]')
    print('\n'.join(_wrapped(sentence) for sentence in sentences) + '\n')
  return 0


def _key(values: flags.FlagValues, arguments: list[str]) -> int:
  del arguments
  print(signing.public_key(signing.load_key(_folder(values) / signer.KEY)))
  return 0


def _page(values: flags.FlagValues, arguments: list[str]) -> int:
  del arguments
  from fl_research.federation import owner_page  # its look is the reports', which need pandas

  page = owner_page.serve(_folder(values), read_policy(values), values.port)
  print(f'Open {page.address}\nCtrl-C ends it.', flush=True)
  try:
    threading.Event().wait()
  finally:
    page.close()
  return 0


COMMANDS: Mapping[str, Command] = {
  'requests': Command(
    _requests,
    'lists what was asked for',
    flags={'status': Flag('', f'only those that are {", ".join(requests.STATUSES)}')},
  ),
  'show': Command(_show, 'a request in plain words, with what the policy makes of it', ('ID',)),
  'approve': Command(
    _approve,
    'lets a run through; ID is the beginning of its run id',
    ('ID',),
    {'note': Flag('', 'is kept with the request and in the log')},
  ),
  'deny': Command(
    _deny,
    'does not let a run through, or no longer',
    ('ID',),
    {'reason': Flag('', 'for the experimenter; must be given')},
  ),
  'log': Command(
    _log,
    'the newest lines of the log, or whether it is whole; exit code 1 when it is not',
    flags={
      'lines': Flag(20, 'how many'),
      'verify': Flag(False, 'checks every line against the one before it'),
      'noted': Flag('', 'checks also that a hash that was noted earlier is one of its lines'),
    },
  ),
  'budget': Command(_budget, 'what each data set has spent of its privacy, by run'),
  'policy': Command(
    _policy,
    'the policy in plain words',
    flags={'check': Flag(False, 'only checks the file; exit code 2 when it is not understood')},
  ),
  'key': Command(
    _key,
    "the site's public key, for the policies of the others, with which sums are signed",
  ),
  'page': Command(
    _page,
    'all of this in a browser on this machine, until Ctrl-C',
    flags={'port': Flag(0, 'where it listens; any free one when 0')},
  ),
}
"""What can be done, by name."""


def main(argv: Sequence[str]) -> int:
  name = argv[1] if len(argv) > 1 and not argv[1].startswith('-') else ''
  if name == _SERVE and not command_line.wants_help(argv):
    return site_serve.main([f'{argv[0]} {name}', *argv[2:]])
  if command_line.wants_help(argv):
    _print_help(name)
    return 0
  if name not in COMMANDS:
    hint = registry.suggestion(name, [_SERVE, *COMMANDS])
    raise UsageError(
      f'{name or "nothing"}: is no command{hint}; commands are {", ".join([_SERVE, *COMMANDS])}; '
      '--help tells more'
    )
  command, values = COMMANDS[name], flags.FlagValues()
  for own, flag in {**_EVERYWHERE, **command.flags}.items():
    _DEFINE[type(flag.default)](own, flag.default, flag.help, flag_values=values)
  arguments = command_line.parse(values, [f'{argv[0]} {name}', *argv[2:]], command.arguments)
  return command.run(values, arguments)


def _print_help(name: str) -> None:
  if name == _SERVE:
    command_line.print_help(
      'python -m experiments.site serve', site_serve.INTRODUCTION, site_serve.help_groups()
    )
    return
  command = COMMANDS.get(name)
  if command is None:
    helps = {_SERVE: site_serve.SUMMARY, **{own: c.help for own, c in COMMANDS.items()}}
    groups = {'Commands': [f'  {own:9} {text}' for own, text in helps.items()]}
    groups['More'] = ['  COMMAND --help: its arguments and flags']
    command_line.print_help('python -m experiments.site COMMAND', INTRODUCTION, groups)
    return
  line = ' '.join(('python -m experiments.site', name, *command.arguments))
  shown = {**command.flags, **_EVERYWHERE}
  lines = [text for own, flag in shown.items() for text in _flag_help(own, flag)]
  command_line.print_help(line, command.help, {'Flags': lines})


def _flag_help(name: str, flag: Flag) -> list[str]:
  default = f' [{flag.default}]' if flag.default not in ('', False) else ''
  return command_line.flag_help(f'{name}{default}', flag.help)


if __name__ == '__main__':
  command_line.run_main(main)

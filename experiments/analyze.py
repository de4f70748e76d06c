"""Finds something out about clients' data by federated analytics, and leaves CSVs in a folder."""

from collections.abc import Mapping, Sequence
import dataclasses
import textwrap

from absl import flags

from experiments import command_line, help_pages, train
from fl_research import analytics, registry
from fl_research import settings as settings_lib
from fl_research.analytics import settings as analysis_settings
from fl_research.analytics.settings import AnalysisSettings
from fl_research.registry import UsageError

PROGRAM = 'python -m experiments.analyze'
INTRODUCTION = """
Finds out something about data that stay with simulated clients. Results go to
<output_dir>/<experiment_name>/: <analysis>.csv (what was found), metrics.csv (one row per round),
hparams.csv, manifest.json, checkpoints/. The same command again resumes an interrupted run. Data,
--seed, --runtime and the folder are those of experiments.train. docs/analytics.md tells more.

  python -m experiments.analyze --analysis=kmeans --task=digits --kmeans_clusters=10 \\
      --clients_per_round=20 --total_rounds=20 --experiment_name=clusters
  python -m experiments.analyze --help=kmeans

The default of a flag stands in brackets. --flagfile=FILE reads flags from a file, one per line.
"""
_OTHER_WORDS = {
  'total_rounds': "rounds (default: the analysis' own)",
  'clients_per_round': 'size of the cohort (default: all clients)',
}
"""Help for shared flags that mean something else here."""

_FIRST = (
  'task',
  'data_file',
  'client_column',
  'label_column',
  'column',
  'clients_per_round',
  'total_rounds',
  'seed',
  'experiment_name',
)
_MORE = (
  '  --help=all: every flag',
  '  --help=NAME: what an analysis or a flag is, its flags, its paper: --help=kmeans',
)


def main(argv: Sequence[str]) -> int:
  topic = command_line.help_topic(argv)
  if topic is not None:
    print_help(topic)
    return 0
  settings = settings_lib.complete(read_settings(argv), command_line.say)
  analysis_settings.validate(settings)
  return analyze(settings)


def read_settings(argv: Sequence[str]) -> AnalysisSettings:
  """The settings that a command line gives.

  Raises:
    UsageError: a flag does not exist or cannot have this value.
  """
  flag_values = flags.FlagValues()
  own = [*analysis_settings.own_fields(), *_shared_fields().values()]
  for field in own:
    command_line.define_flag(flag_values, field.name, field.metadata['type'], '')
  further = {**analysis_settings.shared_flags(), **analysis_settings.own_flags()}
  for name, hyperparameter in further.items():
    command_line.define_flag(flag_values, name, type(hyperparameter.default), hyperparameter.help)
  command_line.parse(flag_values, argv)
  names = [*(field.name for field in own), *further]
  given = {name: flag_values[name].value for name in names if flag_values[name].present}
  return analysis_settings.from_flags(given)


def analyze(settings: AnalysisSettings) -> int:
  """Runs the analysis and reports; gives the exit code."""
  from fl_research.training import run_data, run_folder

  folder = run_folder.RunFolder(settings)
  folder.check()
  if folder.finished:
    print(f'{folder.path}: this analysis is finished; nothing to do')
    return 0
  # The data first: what is wrong with them is said before TensorFlow's five seconds.
  data = run_data.load(settings)
  folder.check_data({'sources': data.sources, 'passport': data.passport})
  with train.Interruption() as interruption:
    from fl_research.analytics import running

    running.print_outcome(running.run(settings, interruption.reason, data))
  return 128 + interruption.signal_number if interruption.signal_number else 0


def print_help(topic: str) -> None:
  """Prints the page that `--help=topic` asks for; the short one for an empty topic.

  Raises:
    UsageError: there is no such analysis or flag.
  """
  if topic == help_pages.ALL:
    command_line.print_help(PROGRAM, INTRODUCTION, {**_analyses(), **_all_flags()})
  elif topic:
    command_line.print_help(f'{PROGRAM} --help={topic}', '', _about(topic))
  else:
    first = [line for name in _FIRST for line in _shared_help()[name]]
    groups = {**_analyses(), 'The flags of a first run': first, 'More': list(_MORE)}
    command_line.print_help(PROGRAM, INTRODUCTION, groups)


def _shared_fields() -> dict[str, dataclasses.Field]:
  """The settings of training that analyses read, by name, in their order in `SHARED`."""
  fields = {field.name: field for field in settings_lib.fields()}
  return {name: fields[name] for name in analysis_settings.SHARED}


def _shared_help() -> dict[str, list[str]]:
  """Lines of help by flag, of those that are no single analysis' own."""
  own = {field.name: command_line.setting_help(field) for field in analysis_settings.own_fields()}
  return own | {
    name: command_line.flag_help(name, _OTHER_WORDS[name])
    if name in _OTHER_WORDS
    else command_line.setting_help(field)
    for name, field in _shared_fields().items()
  }


def _own_help(analysis: str) -> list[str]:
  """Lines of help for an analysis' own flags."""
  flags_of = analytics.ANALYSES[analysis].hyperparameters
  return [
    line
    for name, hyperparameter in flags_of.items()
    for line in command_line.described(f'{analysis}_{name}', hyperparameter)
  ]


def _analyses() -> dict[str, list[str]]:
  """A line for each analysis."""
  lines = [
    line
    for name, entry in analytics.ANALYSES.items()
    for line in textwrap.wrap(f'  {name}: {entry.summary}', 100, subsequent_indent='      ')
  ]
  return {'--analysis, what to find out': lines}


def _all_flags() -> dict[str, list[str]]:
  """Lines of help for all flags, by group."""
  groups = {f'Flags of --analysis={name}': _own_help(name) for name in analytics.ANALYSES}
  shared = _shared_help()
  fields = {field.name: field for field in analysis_settings.own_fields()} | _shared_fields()
  for name, field in fields.items():
    groups.setdefault(field.metadata['group'], []).extend(shared[name])
  for name, hyperparameter in analysis_settings.shared_flags().items():
    groups['Data'] += command_line.described(name, hyperparameter)
  return {group: lines for group, lines in groups.items() if lines}


def _about(name: str) -> Mapping[str, list[str]]:
  """Groups of lines about an analysis or a flag."""
  name = name.strip().removeprefix('--')
  if name in analytics.ANALYSES:
    return help_pages.about_entry('analysis', name, analytics.ANALYSES, _own_help(name))
  shared, own = _shared_help(), analysis_settings.own_flags()
  if name in shared:
    return {f'Flag --{name}': shared[name]}
  if name in own:
    return {f'Flag --{name}': command_line.described(name, own[name])}
  known = [*analytics.ANALYSES, *shared, *own]
  raise UsageError(
    f'--help={name}: unknown{registry.suggestion(name, known)}; accepted are {help_pages.ALL}, and '
    f'the names and flags that --help={help_pages.ALL} lists'
  )


if __name__ == '__main__':
  command_line.run_main(main)

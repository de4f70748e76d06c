"""Pages of help: a short one, where to start, one of all flags, and one for each name or flag."""

import ast
from collections.abc import Mapping
import importlib.util
import pathlib
import textwrap

from experiments import command_line
from fl_research import algorithms, registry, tasks
from fl_research import settings as settings_lib
from fl_research.algorithms import of_tff
from fl_research.registry import UsageError

ALL, START = 'all', 'start'

_NONE: Mapping[str, list[str]] = {}

FIRST = (
  'task',
  'data_file',
  'client_column',
  'label_column',
  'model',
  'algorithm',
  'clients_per_round',
  'client_epochs_per_round',
  'client_learning_rate',
  'total_rounds',
  'seed',
  'experiment_name',
)
"""The flags of a first run."""

MORE = (
  '  --help=all: every flag',
  '  --help=start: where to start, in three commands',
  '  --help=NAME: what a method, aggregator, model, task, compressor, attack or flag is, its',
  '      flags, its paper: --help=scaffold, --help=client_optimizer',
)

WHERE_TO_START = """
Where to start (python is .venv/bin/python, which make sets up)

1. A first run, in half a minute and without a download: FedAvg on handwritten digits.

  python -m experiments.train --task=digits --experiment_name=first_run

2. The same without federation, and what the two differ in.

  python -m experiments.train --task=digits --centralized --experiment_name=one_place
  python -m experiments.report results --out=report.html

3. Your own data, here a table with a column that says whose a row is (docs/own_data.md has the
other forms): what is in it, a run, its model asked about new rows.

  python -m experiments.import_data --data_file=patients.csv \\
      --client_column=hospital --label_column=sick
  python -m experiments.train --data_file=patients.csv \\
      --client_column=hospital --label_column=sick --experiment_name=hospitals
  python -m experiments.predict --run=results/hospitals --data_file=new.csv --out=answers.csv

Each run leaves its files in results/<experiment_name>/: metrics.csv, a picture of the learning
curve, the model. experiments/examples/ has a file of flags for every kind of data. --help shows the
flags of a first run, --help=scaffold tells of a method, and --help=all lists everything.
"""


def short(own: Mapping[str, list[str]] = _NONE) -> dict[str, list[str]]:
  """Groups of lines for a first run: a program's own, the flags of `FIRST`, where the rest is."""
  lines = {field.name: command_line.setting_help(field) for field in settings_lib.fields()}
  first = [line for name in FIRST for line in _in_brief(name, lines[name])]
  return {**own, 'The flags of a first run': first, 'More': list(MORE)}


def _in_brief(name: str, lines: list[str]) -> list[str]:
  """Help of a flag, with no more than two lines of names where it has many."""
  begin = next((i for i, line in enumerate(lines) if line.startswith('      = ')), len(lines))
  if len(lines) <= begin + 3:
    return lines
  return [*lines[: begin + 2], f'        and more: --help={name}']


def print_help(
  topic: str, program: str, introduction: str, own: Mapping[str, list[str]] = _NONE
) -> None:
  """Prints the page that `--help=topic` asks for.

  Args:
    topic: `ALL`, `START`, a name or a flag; empty for the short page.
    program: the command.
    introduction: what it does.
    own: groups of lines for the program's own flags.

  Raises:
    UsageError: there is no such name or flag.
  """
  if topic == START:
    print(WHERE_TO_START.strip())
  elif topic == ALL:
    command_line.print_help(program, introduction, {**own, **command_line.settings_help()})
  elif topic:
    command_line.print_help(f'{program} --help={topic}', '', about(topic))
  else:
    command_line.print_help(program, introduction, short(own))


def about(name: str) -> dict[str, list[str]]:
  """Groups of lines about what a name or a flag is.

  Raises:
    UsageError: it is neither.
  """
  name = name.strip().removeprefix('--')
  pages: dict[str, list[str]] = {}
  found = tables()
  described: dict[str, list[str]] = {}
  for flag, table in found.items():
    if name in table:
      pages.update(_entry_page(flag, name, table[name], _own_flags(flag, name, table[name])))
      described = _module_page(name, table) or described
  pages.update(described)
  pages.update(_flag_page(name))
  if not pages:
    names = [*settings_lib.flag_types(), *(each for table in found.values() for each in table)]
    raise UsageError(
      f'--help={name}: unknown{registry.suggestion(name, names)}; accepted are {ALL}, {START}, and '
      f'the names and flags that --help={ALL} lists'
    )
  return pages


def about_entry(
  flag: str, name: str, table: Mapping[str, registry.Entry], own: list[str]
) -> dict[str, list[str]]:
  """Groups of lines about an entry of a registry: what it is and asks, its flags, its paper.

  Args:
    flag: the flag that chooses it.
    name: its name.
    table: the registry.
    own: lines of help for its own flags.
  """
  return {**_entry_page(flag, name, table[name], own), **_module_page(name, table)}


def _entry_page(
  flag: str, name: str, entry: registry.Entry, own: list[str]
) -> dict[str, list[str]]:
  summary = [f'  {line}' for line in textwrap.wrap(entry.summary, 98)]
  pages = {f'--{flag}={name}': summary + _asks(entry)}
  return {**pages, f'Flags of --{flag}={name}': own} if own else pages


def _module_page(name: str, table: Mapping[str, registry.Entry]) -> dict[str, list[str]]:
  """What an entry's module says of itself; one of many entries tells of none of them."""
  module = table[name].module
  if sum(other.module == module for other in table.values()) > 1:
    return {}
  return {module: ['', *_docstring(module).splitlines()]}


def _flag_page(name: str) -> dict[str, list[str]]:
  """The help of a flag, and a line for each thing that it may name."""
  lines = {field.name: command_line.setting_help(field) for field in settings_lib.fields()}
  if name in settings_lib.registry_flags():
    return {f'Flag --{name}': command_line.hyperparameter_help(name)}
  if name not in lines:
    return {}
  page = {f'Flag --{name}': lines[name]}
  families: Mapping[str, Mapping[str, registry.Entry]] = {'': tables().get(name, {})}
  if name == 'algorithm':
    families = {**algorithms.FAMILIES, "TFF's own": of_tff.ALGORITHMS}
  for family, table in families.items():
    named = [
      line
      for key, entry in table.items()
      for line in textwrap.wrap(f'  {key}: {entry.summary}', 100, subsequent_indent='      ')
    ]
    if named:
      page[f'What it may name: {family}' if family else 'What it may name'] = named
  return page


def tables() -> dict[str, Mapping[str, registry.Entry]]:
  """Flag -> what it may name, for flags whose names have entries."""
  found: dict[str, Mapping[str, registry.Entry]] = {}
  for r in settings_lib.registries():
    found[r.setting] = {**found.get(r.setting, {}), **r.table}
  for field in settings_lib.fields():
    choices = field.metadata['choices']
    table = choices() if choices else None
    if isinstance(table, Mapping) and all(isinstance(e, registry.Entry) for e in table.values()):
      found.setdefault(field.name, table)
  return found


def _asks(entry: registry.Entry) -> list[str]:
  """What an entry needs and presumes of other flags."""
  lines = []
  if isinstance(entry, tasks.Task):
    lines.append(f'model: {entry.default_model}; may be {", ".join(entry.models)}')
    if entry.files:
      lines.append(f'files in --data_dir: {", ".join(entry.files)}')
  for requirement in entry.requires:
    accepted = ' or '.join(str(value or 'none').lower() for value in requirement.accepted)
    lines.append(f'needs --{requirement.setting} to be {accepted}, as it {requirement.reason}')
  lines += [f'--{flag} is {value} with it by default' for flag, value in entry.defaults.items()]
  if entry.needs_server_examples:
    lines.append('needs --server_examples')
  if entry.not_private:
    lines.append(f'not with differential privacy, as it {entry.not_private}')
  if entry.not_structured:
    lines.append(f'not with compressors that restrict training, as it {entry.not_structured}')
  return [
    part
    for line in lines
    for part in textwrap.wrap(line, 96, initial_indent='  ', subsequent_indent='    ')
  ]


def _own_flags(flag: str, name: str, entry: registry.Entry) -> list[str]:
  """Help for the flags that only an entry reads."""
  lines = []
  for field in settings_lib.fields():
    if field.name in getattr(entry, 'reads', ()):
      lines += command_line.setting_help(field)
  tables_of_flag = (r for r in settings_lib.registries() if r.setting == flag and name in r.table)
  prefix = next((r.prefix for r in tables_of_flag), '') or name
  known = settings_lib.registry_flags()
  for key in entry.hyperparameters:
    if f'{prefix}_{key}' in known:
      lines += command_line.hyperparameter_help(f'{prefix}_{key}')
  return lines


def _docstring(module: str) -> str:
  """What a module says of itself: the paper, and the differences from it. It is not imported."""
  spec = importlib.util.find_spec(module)
  assert spec is not None and spec.origin is not None
  source = pathlib.Path(spec.origin).read_text()
  return ast.get_docstring(ast.parse(source)) or ''

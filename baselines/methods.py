"""Writes docs/methods.md: every method's flags, columns, distance from its paper, and results."""

import ast
from collections.abc import Iterator, Mapping, Sequence
import csv
import dataclasses
import importlib.util
import os
import pathlib
import re
from typing import Any

from absl import flags
import numpy as np
import pandas as pd

from baselines import method_rows
from experiments import command_line
from fl_research import aggregation, algorithms, analysis
from fl_research import settings as settings_lib
from fl_research.aggregation import compression, privacy
from fl_research.aggregation.privacy import accountant
from fl_research.analysis import run_files
from fl_research.population import attacks, choosers
from fl_research.registry import UsageError

INTRODUCTION = """
Writes docs/methods.md from the registries, the modules' docstrings and the measured rows in
baselines/methods/results.csv, after measuring the rows that are missing there.

  python -m baselines.methods --data_dir=../shared/data
  python -m baselines.methods --page_only
"""
HELP = {
  'data_dir': 'folder of original data files, as for experiments.train',
  'parallel': 'rows measured at a time; 0: one per core',
  'page_only': 'measure nothing',
}
ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / 'docs' / 'methods.md'
ELSEWHERE = ROOT / 'baselines' / 'methods' / 'elsewhere.csv'
"""Methods that are not here: the paper, and why."""
HEADING = 'Differences from the paper:'
_NOT_MEASURED = '…'
_PAPER = re.compile(
  r'((?:[A-ZÀ-Ž][\w\'’-]+(?: [A-ZÀ-Ža-z][\w\'’-]*)*, )*[A-ZÀ-Ž][^.,:;]*? \d{4}, "[^"]+")'
)
_COLUMNS = {
  'rounds': 'rounds',
  'accuracy': 'test accuracy %',
  'clients_accuracy': 'mean over clients %',
  'worst_tenth': 'worst tenth of clients %',
  'bytes_up': 'MB up per round',
  'core_seconds_per_round': 'core-seconds per round',
}
_EXTRA = {'epsilon': 'ε', 'backdoor_accuracy': 'backdoor accuracy %'}
_PERCENT = ('accuracy', 'clients_accuracy', 'worst_tenth', 'backdoor_accuracy')


@dataclasses.dataclass(frozen=True)
class Method:
  """What a user can ask for.

  Attributes:
    name: as it is called on the page, and in rows.csv.
    module: what implements it.
    summary: what it is, in a line.
    choice: the flag that chooses it; empty for what is a matter of its own flags.
    flags: its flags, each as (name, default, domain, help).
    columns: the columns of every metrics.csv that are about it.
    defaults: what flags that are left open mean with it.
    notes: what a user must know besides, in paragraphs.
  """

  name: str
  module: str
  summary: str
  choice: str
  flags: tuple[tuple[str, Any, str, str], ...]
  columns: tuple[str, ...] = ()
  defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  notes: tuple[str, ...] = ()


def places() -> dict[str, list[Method]]:
  """All methods by the section of the page."""
  return {
    'algorithms': [
      *_registered('algorithm', algorithms.ALGORITHMS),
      _ADAPTERS,
      _FINE_TUNING,
    ],
    'aggregators': list(_registered('aggregator', aggregation.AGGREGATORS)),
    'compressors': list(_registered('compressor', compression.COMPRESSORS)),
    'privacy': list(_PRIVACY),
    'attacks': list(_registered('attack', attacks.ATTACKS)),
    'population': [*_POPULATION, *_registered('cohort_sampling', choosers.CHOOSERS)],
  }


def _registered(flag: str, table: Mapping[str, Any]) -> Iterator[Method]:
  for name, entry in table.items():
    own = tuple(
      (f'{name}_{key}', h.default, h.domain, h.help) for key, h in entry.hyperparameters.items()
    )
    choice = f'--{flag}={name}'
    yield Method(name, entry.module, entry.summary, choice, own, defaults=entry.defaults)


def _of_settings(
  name: str,
  module: str,
  summary: str,
  prefixes: tuple[str, ...],
  columns: tuple[str, ...] = (),
  notes: tuple[str, ...] = (),
) -> Method:
  """A method that is asked for by settings, those whose names begin with one of the prefixes."""
  own = tuple(
    (field.name, field.default, _domain(field.metadata), field.metadata['help'])
    for field in settings_lib.fields()
    if field.name.startswith(prefixes)
  )
  return Method(name, module, summary, '', own, columns, notes=notes)


def _domain(metadata: Mapping[str, Any]) -> str:
  choices = metadata['choices']
  return ', '.join(choices()) if choices else metadata['domain']


def source(module: str) -> pathlib.Path:
  """A module's file."""
  spec = importlib.util.find_spec(module)
  if spec is None or spec.origin is None:
    raise ModuleNotFoundError(module)
  return pathlib.Path(spec.origin)


def _place(module: str) -> str:
  """Where a module is, as seen from the page."""
  return os.path.relpath(source(module), PAGE.parent)


def _privacy_notes() -> tuple[str, ...]:
  """What ε is about and what not, and where noise is added and comes from."""
  return (
    *(
      f'`--dp_place={name}`: {entry.summary}. ε covers {privacy.COVERED[name]} '
      f'([maths and code]({_place(entry.module)})).'
      for name, entry in privacy.PLACES.items()
    ),
    'The unit is one client with all its data. It does not cover:',
    '\n'.join(f'- {each};' for each in privacy.NOT_COVERED)[:-1] + '.',
    *(
      f'`--dp_noise={name}`: {entry.summary} ([maths and code]({_place(entry.module)})).'
      for name, entry in privacy.NOISES.items()
    ),
  )


_ADAPTERS = _of_settings(
  'low-rank adapters',
  'fl_research.models.lora',
  'a frozen model, and thin matrices beside its own that are trained and sent (Hu et al. 2022)',
  ('lora_',),
)
_FINE_TUNING = _of_settings(
  'fine-tuning',
  'fl_research.training.fine_tuning',
  'clients adapt the global model before it is tested',
  ('fine_tune_',),
)
_PRIVACY = (
  _of_settings(
    'differential privacy',
    'fl_research.aggregation.privacy.dp_mean',
    'a noisy mean of clipped updates (McMahan et al. 2018, Andrew et al. 2021)',
    ('dp_', 'target_epsilon', 'private_'),
    notes=_privacy_notes(),
  ),
  _of_settings(
    'secure aggregation',
    'fl_research.aggregation.sums',
    'the server sees sums over clients, and no update (Bonawitz et al. 2017)',
    ('secure_',),
    ('bytes_up', 'bytes_up_uncompressed'),
  ),
)
_POPULATION = (
  _of_settings(
    'stragglers',
    'fl_research.population.participation',
    'clients that manage only part of their epochs',
    ('straggler',),
    ('stragglers', 'participants'),
  ),
  _of_settings(
    'dropouts',
    'fl_research.population.participation',
    'clients that fail before they send',
    ('dropout_',),
    ('dropouts', 'participants'),
  ),
  _of_settings(
    'over-selection',
    'fl_research.population.participation',
    'more clients than wanted; the first that report count',
    ('over_selection',),
    ('cohort_size', 'participants', 'simulated_hours'),
  ),
  _of_settings(
    'cohort sampling',
    'fl_research.population.cohorts',
    'who is drawn, and who is available',
    ('cohort_sampling', 'availability'),
    ('cohort_size', 'cohort_examples'),
    (
      'Those that choose by what clients report have parts of their own below: '
      f'{", ".join(f"[{name}](#{name})" for name in choosers.CHOOSERS)}.',
    ),
  ),
  _of_settings(
    'virtual clock',
    'fl_research.population.devices',
    'how long rounds would take on real devices',
    ('device',),
    ('simulated_hours',),
    ('Measured phones and connections, and when they are ready: [devices](devices.md).',),
  ),
)
_TASKS = {
  'mnist': 'MNIST, two shards of digits per client, 2NN',
  'uci_har': 'UCI HAR by subject, MLP',
}
_CLIENTS = {'mnist': 100, 'uci_har': 21}


def docstring(module: str) -> str:
  """A module's docstring; the module, which may need TensorFlow, is not imported."""
  return ast.get_docstring(ast.parse(source(module).read_text())) or ''


def differences(module: str) -> list[str]:
  """What a module's docstring lists under `HEADING`; empty when it has no such section."""
  _, found, rest = docstring(module).partition(f'\n{HEADING}\n')
  paragraph = rest.split('\n\n')[0] if found else ''
  items = re.split(r'^\d+\. ', paragraph, flags=re.MULTILINE)[1:]
  return [' '.join(item.split()) for item in items]


def papers(module: str) -> list[str]:
  """The papers that a module's docstring names in full: authors, year, title."""
  text = ' '.join(docstring(module).partition(HEADING)[0].split())
  found = (match.group(1).strip() for match in _PAPER.finditer(text))
  return [f'{paper[:-2]}"' if paper.endswith(',"') else paper for paper in found]


def page() -> str:
  """The content of docs/methods.md."""
  table = method_rows.results()
  sections = [f'{_HEAD}\n{_common(table)}\n']
  for place, methods in places().items():
    sections.append(f'## {place.capitalize()}\n')
    if place == 'algorithms':
      sections.append(_families())
    sections.extend(_tables(place, table))
    sections.extend(_method(method, table) for method in methods)
    if place == 'algorithms':
      sections.append(_elsewhere())
  return '\n'.join(sections)


def _elsewhere() -> str:
  """What the field has and this page has not, and why."""
  with open(ELSEWHERE, newline='', encoding='utf-8') as file:
    rows = [f'| {row["method"]} | {row["paper"]} | {row["why"]} |' for row in csv.DictReader(file)]
  head = ('### What is not among them\n', '| method | paper | why |', '|---|---|---|')
  return '\n'.join((*head, *rows)) + '\n'


def _common(table: pd.DataFrame) -> str:
  lines = []
  for task, title in _TASKS.items():
    text = method_rows.flag_file(task).read_text().splitlines()
    given = ' '.join(line for line in text if line.startswith('--'))
    notes = ' '.join(line.removeprefix('# ') for line in text if line.startswith('#'))
    lines.append(f'- **{title}.** {notes} `{given}`')
  for machine in sorted(set(table.get('machine', []))):
    commits = sorted(set(table.loc[table['machine'] == machine, 'commit']))
    lines.append(f'- Measured on {machine}, at {", ".join(commits)}.')
  return '\n'.join(lines)


def _families() -> str:
  """The families of algorithms, with links to the parts of the page."""
  linked = lambda table: ', '.join(f'[{name}](#{name})' for name in table)
  lines = (f'- {family}: {linked(table)}' for family, table in algorithms.FAMILIES.items())
  return '\n'.join(lines) + '\n'


def _tables(place: str, table: pd.DataFrame) -> Iterator[str]:
  """The measured rows of a section, a table for each task."""
  for task, title in _TASKS.items():
    rows = [row for row in method_rows.rows() if row.place == place and task in row.flags]
    measured = [_of(table, task, row.flags[task]) for row in rows]
    extra = [c for c in _EXTRA if any(_numbers(found, c).size for found in measured)]
    titles = ['method', 'flags', *_COLUMNS.values(), *(_EXTRA[c] for c in extra)]
    lines = [f'{title}:\n', f'| {" | ".join(titles)} |', '|---' * len(titles) + '|']
    for row, found in zip(rows, measured, strict=True):
      flags_given = f'`{row.flags[task]}`' if row.flags[task] else 'none'
      cells = [_cell(found, column) for column in (*_COLUMNS, *extra)]
      lines.append(f'| {" | ".join((row.method, flags_given, *cells))} |')
    yield '\n'.join(lines) + '\n'
    yield from _cautions(task, measured)


def _cautions(task: str, measured: Sequence[pd.DataFrame]) -> Iterator[str]:
  """What to bear in mind of the ε of a table's rows."""
  clients = _CLIENTS[task]
  delta = accountant.default_delta(clients)
  epsilons = [values.max() for found in measured if (values := _numbers(found, 'epsilon')).size]
  said = [accountant.cautions(epsilon, delta, clients) for epsilon in sorted(set(epsilons))]
  for words in dict.fromkeys(word for each in said for word in each):
    yield f'- {words}'
  if any(said):
    yield ''


def _of(table: pd.DataFrame, task: str, own: str) -> pd.DataFrame:
  return table[(table['task'] == task) & (table['flags'] == own)]


def _numbers(found: pd.DataFrame, column: str) -> np.ndarray:
  """A column's values over seeds, those that are there."""
  if column not in found:
    return np.zeros(0)
  return pd.to_numeric(found[column], errors='coerce').dropna().to_numpy(float)


def _cell(found: pd.DataFrame, column: str) -> str:
  """A column's mean over seeds, for accuracies with its interval."""
  if len(found) < len(method_rows.SEEDS):
    return _NOT_MEASURED
  values = _numbers(found, column)
  if not values.size:
    return ''
  if column in _PERCENT:
    interval = analysis.t_interval(100 * values)
    return f'{100 * values.mean():.1f} ± {(interval.high - interval.low) / 2:.1f}'
  mean = values.mean()
  return f'{mean / 1e6:.3g}' if column == 'bytes_up' else f'{mean:.3g}'


def _method(method: Method, table: pd.DataFrame) -> str:
  """A method's part of the page."""
  summary = method.summary[0].upper() + method.summary[1:]
  lines = [f'### {method.name}\n', f'{summary}: [maths and code]({_place(method.module)}).']
  lines += [f'{paper}.' for paper in papers(method.module)]
  if method.choice:
    lines.append(f'\n`{method.choice}`')
  if method.defaults:
    meanings = ', '.join(f'`--{flag}={value}`' for flag, value in method.defaults.items())
    lines.append(f'\nBy default with it: {meanings}.')
  if method.flags:
    lines.append('\n| flag | default | accepted | meaning |\n|---|---|---|---|')
    lines += [_flag(*one) for one in method.flags]
  lines += [f'\n{note}' for note in method.notes]
  columns = [*method.columns, *_added_columns(method, table)]
  if columns:
    lines.append(f'\nIn `metrics.csv`: {", ".join(f"`{name}`" for name in columns)}.')
  lines.append(f'\n{HEADING}\n')
  lines += [f'{number}. {text}' for number, text in enumerate(differences(method.module), 1)]
  return '\n'.join(lines) + '\n'


def _flag(name: str, default: Any, domain: str, text: str) -> str:
  shown = 'none' if default in (None, '') else str(default).lower()
  return f'| `--{name}` | {shown} | {domain} | {text} |'


def _added_columns(method: Method, table: pd.DataFrame) -> list[str]:
  """The columns that a method's runs fill and FedAvg's do not."""
  added: dict[str, None] = {}
  for task in method_rows.TASKS:
    plain = ' '.join(_of(table, task, '')['columns']).split()
    for row in method_rows.rows():
      if row.method == method.name and task in row.flags:
        filled = ' '.join(_of(table, task, row.flags[task])['columns']).split()
        new = [name for name in filled if plain and name not in plain]
        added.update(dict.fromkeys(run_files.RENAMED.get(name, name) for name in new))
  return list(added)


def main(argv: Sequence[str]) -> int:
  if command_line.wants_help(argv):
    groups = {'Methods': [f'  --{name}: {text}' for name, text in HELP.items()]}
    command_line.print_help('python -m baselines.methods', INTRODUCTION, groups)
    return 0
  values = flags.FlagValues()
  flags.DEFINE_string('data_dir', '', HELP['data_dir'], flag_values=values)
  flags.DEFINE_integer('parallel', 0, HELP['parallel'], flag_values=values)
  flags.DEFINE_bool('page_only', False, HELP['page_only'], flag_values=values)
  command_line.parse(values, argv)
  if values.parallel < 0:
    raise UsageError(f'--parallel={values.parallel}: accepted is an integer of at least 0')
  work = [] if values.page_only else method_rows.missing(method_rows.results())
  if work:
    parallel = values.parallel or len(os.sched_getaffinity(0))
    method_rows.measure(work, values.data_dir, parallel, lambda line: print(line, flush=True))
  PAGE.write_text(page())
  print(f'{os.path.relpath(PAGE)}: written')
  return 0


_HEAD = """# Methods

Every method that can be asked for: its flags, what it adds to `metrics.csv`, where it differs from
its paper, and what it reaches on two tasks with the flags of its row. Hyperparameters are sensible
ones, not tuned ones, and a few dozen rounds are few: the rows show what a method does and costs,
not which one is best.

- *Accuracy* is the final one, mean ± half of the 95 % interval (Student's t) over three seeds.
  *Test accuracy* is on all test examples; for methods with personal models it is the mean over
  clients of what each one's model makes of everybody's examples. *Mean over clients* and *worst
  tenth* are over each client's own test examples, for personal models each with its own; for
  fine-tuning after it. Runs of personal models also fill `personal/…`, and `global/…` where the
  global model is of use by itself ([what they mean](../README.md#what-a-run-leaves-behind)).
- *MB up* is what the whole cohort sends in a round, in millions of bytes as encoded.
- *Core-seconds* are processor time on one core for a whole run, building and evaluating included,
  over its rounds; the wall time of a round is less, as clients train on all cores.
- … stands for what has not been measured yet.

Written by `python -m baselines.methods`, which measures what is missing in
`baselines/methods/results.csv`; a test holds this page against the registries and that file.
"""


if __name__ == '__main__':
  command_line.run_main(main)

"""How far models, populations, clients' states and the number of rounds may grow."""

from collections.abc import Iterator, Mapping, Sequence
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

from absl import flags
import pandas as pd
import rich.console
import rich.table

from benchmarks import machine, round_time
from experiments import command_line
from fl_research import registry

INTRODUCTION = """
Measures what grows until it does not fit: the memory of a large model's rounds, opening a large
population, the states of many clients on the disk, and what is written after every round. Each part
runs in a process of its own; files are in a temporary folder (see TMPDIR), which is removed.

  python -m benchmarks.limits
  python -m benchmarks.limits --part=model --parameters=20000000
  python -m benchmarks.limits --part=states --states=100000 --save     100 GB of disk
"""

PARTS = ('model', 'population', 'states', 'bookkeeping')
"""What can be measured."""

Rows = list[dict[str, Any]]


class WorkerError(Exception):
  """A process of a part failed; its text is the last line that it wrote."""


def _worker(*arguments: object) -> Iterator[dict[str, Any]]:
  """What a process of `limits_worker` tells, line by line."""
  command = [sys.executable, '-m', 'benchmarks.limits_worker', *map(str, arguments)]
  with (
    tempfile.TemporaryFile('w+') as complaints,
    subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, text=True) as process,
  ):
    assert process.stdout is not None
    yield from map(json.loads, process.stdout)
    if process.wait():
      complaints.seek(0)
      lines = complaints.read().splitlines() or [f'exit code {process.returncode}']
      raise WorkerError(f'{arguments[0]}: {lines[-1]}')


def measure_model(values: Any) -> tuple[Rows, pd.DataFrame]:
  """Peaks by stage, in MiB and in models; and the memory's course."""
  rows: Rows = []
  course = []
  for at_once in (1, 2):
    model_mib = 1.0
    for line in _worker('model', values.parameters, 2 * at_once, at_once):
      model_mib = line.get('model_mib', model_mib)
      if 'stage' in line:
        both = {f'{what}_models': line[f'{what}_mib'] / model_mib for what in ('peak', 'resident')}
        rows.append({'chunks_at_once': at_once, **line, **both})
      elif 'seconds' in line:
        models = line['mib'] / model_mib
        course.append({'chunks_at_once': at_once, 'x': line['seconds'], 'y': models})
  return rows, pd.DataFrame(course)


def measure_population(values: Any) -> tuple[Rows, pd.DataFrame]:
  """Opening so many clients and looking up cohorts, and the same of two other forms."""
  rows: Rows = []
  for count in (values.population // 100, values.population // 10, values.population):
    with tempfile.TemporaryDirectory() as scratch:
      written = {line['form']: line for line in _worker('write_index', scratch, count)}
      for form, line in written.items():
        [opened] = _worker('open_index', scratch, form)
        rows.append({**opened, **line})
  table = pd.DataFrame(rows)
  return rows, table.rename(columns={'form': 'line', 'clients': 'x', 'seconds_to_open': 'y'})


def measure_states(values: Any) -> tuple[Rows, pd.DataFrame]:
  """Medians over tenths of the filling, and over rounds of clients that have a state."""
  lines = list(_worker('states', values.states, values.floats, 10 * values.states))
  *rounds, end = lines
  table = pd.DataFrame(rounds)
  first, again = table[table.what == 'first'], table[table.what == 'again']
  tenths = pd.qcut(first['round'], min(5, len(first)), labels=False)
  of_parts = [part.median(numeric_only=True) for _, part in first.groupby(tenths)]
  medians = [{'what': 'first', **part} for part in of_parts]
  medians.append({'what': 'again', **again.median(numeric_only=True)})
  rows: Rows = [{key: own[key] for key in ('what', 'held', 'mib', *_TIMES)} for own in medians]
  rows.append({'what': f'resumption, {end["file_gb"]:.1f} GB', 'get_ms': 1000 * end['seconds']})
  return rows, first.rename(columns={'held': 'x', 'mib': 'y'})


_TIMES = ('get_ms', 'put_ms', 'checkpoint_ms')


def measure_bookkeeping(values: Any) -> tuple[Rows, pd.DataFrame]:
  """Medians early and late, and their share of a round."""
  table = pd.DataFrame(_worker('bookkeeping', values.rounds))
  timed = table[table.what != 'memory'].groupby(['what', 'when'], sort=False).ms.median().unstack()
  work = timed.loc['a round of W1', '']
  rows: Rows = [{'what': 'a round of W1', 'early_ms': work, 'late_ms': work}]
  for what, own in timed.drop('a round of W1').iterrows():
    share = 100 * own['late'] / work
    rows.append(
      {'what': what, 'early_ms': own['early'], 'late_ms': own['late'], 'percent_of_a_round': share}
    )
  memory = table[table.what == 'memory'].set_index('when').mib
  rows.append({'what': 'memory, MiB', 'early_ms': memory['early'], 'late_ms': memory['late']})
  return rows, pd.DataFrame(rows[1:-1])


def plot(part: str, course: pd.DataFrame, path: pathlib.Path) -> None:
  """The picture of a part."""
  import matplotlib

  matplotlib.use('Agg')
  from matplotlib import pyplot

  figure, axis = pyplot.subplots(figsize=(6, 3.6))
  if part == 'model':
    for at_once, own in course.groupby('chunks_at_once'):
      axis.plot(own.x, own.y, label=f'{at_once} chunk{"s" * (at_once > 1)} at the same time')
    axis.set(xlabel='seconds', ylabel='memory beyond the libraries (models)', ylim=(0, None))
    axis.legend()
  elif part == 'population':
    for form, own in course.groupby('line', sort=False):
      axis.plot(own.x, own.y, marker='o', label=form)
    axis.set(xlabel='clients', ylabel='seconds to open', xscale='log', yscale='log')
    axis.legend()
  elif part == 'states':
    axis.plot(course.x, course.y)
    axis.set(xlabel='clients that have a state', ylabel='memory taken (MiB)')
    axis.set(ylim=(0, 1.3 * course.y.max()))
  else:
    places = range(len(course))
    axis.barh([p - 0.2 for p in places], course.early_ms, 0.4, label='first rounds')
    axis.barh([p + 0.2 for p in places], course.late_ms, 0.4, label='after all rounds')
    axis.set_yticks(list(places), course.what)
    axis.set(xlabel='milliseconds')
    axis.legend()
  axis.grid(alpha=0.3)
  figure.tight_layout()
  figure.savefig(path, dpi=120)
  pyplot.close(figure)


def _print(part: str, rows: Rows) -> None:
  names = list(dict.fromkeys(name for row in rows for name in row))
  table = rich.table.Table(*names, title=part)
  for row in rows:
    table.add_row(*(_cell(row.get(name, '')) for name in names))
  rich.console.Console(width=160).print(table)


def _cell(value: Any) -> str:
  return f'{value:,.3f}' if isinstance(value, float) else str(value)


def save(part: str, rows: Rows, course: pd.DataFrame, described: Mapping[str, Any]) -> None:
  """Writes a part's CSV and picture, and the machine's description."""
  folder = round_time.RESULTS
  folder.mkdir(exist_ok=True)
  pd.DataFrame(rows).to_csv(folder / f'limits_{part}.csv', index=False)
  plot(part, course, folder / f'limits_{part}.png')
  (folder / 'limits_machine.json').write_text(json.dumps(described, indent=1) + '\n')


def main(argv: Sequence[str]) -> int:
  values = flags.FlagValues()
  own: dict[str, Any] = {'flag_values': values}
  flags.DEFINE_multi_string('part', list(PARTS), 'which parts, repeatable or with commas', **own)
  flags.DEFINE_integer('parameters', 100_000_000, 'of the model', 10_000, **own)
  flags.DEFINE_integer('population', 10_000_000, 'clients of the largest population', 10_000, **own)
  flags.DEFINE_integer('states', 2_000, 'clients that get a state', 100, **own)
  flags.DEFINE_integer('floats', 250_000, 'float32 numbers of a state', 1, **own)
  flags.DEFINE_integer('rounds', 100_000, 'rounds after which to look again', 100, **own)
  flags.DEFINE_bool('save', False, 'write CSVs and pictures to benchmarks/results', **own)
  if command_line.wants_help(argv):
    lines = {'Flags': round_time.flag_lines(values)}
    command_line.print_help('python -m benchmarks.limits', INTRODUCTION, lines)
    return 0
  command_line.parse(values, argv)
  described = machine.describe()
  for name in [name for text in values.part for name in text.split(',')]:
    registry.lookup('part', name, dict.fromkeys(PARTS))
    try:
      rows, course = globals()[f'measure_{name}'](values)
    except WorkerError as error:
      print(f'limits: {error}', file=sys.stderr)
      return 1
    _print(name, rows)
    if values.save:
      save(name, rows, course, described)
  return 0


if __name__ == '__main__':
  command_line.run_main(main)

"""How the fused runtime's time and memory grow with the cohort, the population and the rounds."""

from collections.abc import Sequence
import contextlib
import json
import pathlib
import statistics
import sys
from typing import Any

from absl import flags
import pandas as pd
import rich.console
import rich.table

from benchmarks import machine, processes, round_time
from experiments import command_line
from fl_research import registry

INTRODUCTION = """
Times rounds of softmax regression (60 -> 10, every client with 50 examples, B = 10) on the fused
runtime: cohorts of 10 to 10,000 clients, populations of a hundred to a million, and the memory of
a thousand rounds. Clients are made on demand, one in five of them is held out, and each case runs
in a process of its own.

  python -m benchmarks.scaling
  python -m benchmarks.scaling --part=memory --memory_rounds=200
"""

PARTS = ('cohorts', 'populations', 'memory')
"""What can be measured."""

COHORTS = (10, 100, 1_000, 10_000)
POPULATIONS = (100, 10_000, 1_000_000)
_POPULATION_OF_COHORTS = 20_000
_COHORT_OF_POPULATIONS = _COHORT_OF_MEMORY = 100
_WARM_UP = 3


def time_cases(cases: Sequence[tuple[int, int]], rounds: int) -> pd.DataFrame:
  """Median seconds per round of each (population, clients per round), their rounds in turns."""
  seconds: list[list[float]] = [[] for _ in cases]
  with contextlib.ExitStack() as stack:
    running = [stack.enter_context(_start(*case)) for case in cases]
    for round_num in range(1, _WARM_UP + rounds + 1):
      for process, own in zip(running, seconds):
        taken = process.ask({'round': round_num})['seconds']
        if round_num > _WARM_UP:
          own.append(taken)
  table = pd.DataFrame(cases, columns=['population', 'clients_per_round'])
  table['seconds_per_round'] = [statistics.median(own) for own in seconds]
  table['microseconds_per_client'] = 1e6 * table.seconds_per_round / table.clients_per_round
  return table


def memory(rounds: int) -> pd.DataFrame:
  """Resident memory after every so many rounds of one process."""
  every = max(1, rounds // 20)
  rows = []
  with _start(POPULATIONS[-1], _COHORT_OF_MEMORY) as process:
    for round_num in range(1, rounds + 1):
      resident = process.ask({'round': round_num})['resident_bytes']
      if round_num % every == 0:
        rows.append({'round': round_num, 'resident_mib': resident / 2**20})
  return pd.DataFrame(rows)


def _start(population: int, clients_per_round: int) -> processes.Process:
  arguments = (str(population), str(clients_per_round))
  return processes.Process('benchmarks.scaling_worker', *arguments)


def measure(part: str, rounds: int, memory_rounds: int) -> pd.DataFrame:
  """One part's table."""
  if part == 'cohorts':
    return time_cases([(_POPULATION_OF_COHORTS, size) for size in COHORTS], rounds)
  if part == 'populations':
    return time_cases([(size, _COHORT_OF_POPULATIONS) for size in POPULATIONS], rounds)
  return memory(memory_rounds)


def plot(tables: dict[str, pd.DataFrame], path: pathlib.Path) -> None:
  """One panel for each part."""
  import matplotlib

  matplotlib.use('Agg')
  from matplotlib import pyplot

  figure, axes = pyplot.subplots(1, len(tables), figsize=(4.5 * len(tables), 3.6), squeeze=False)
  for axis, (part, table) in zip(axes[0], tables.items()):
    if part == 'memory':
      axis.plot(table['round'], table['resident_mib'], marker='.')
      axis.set(xlabel='round', ylabel='resident memory (MiB)')
      axis.set(ylim=(0, 1.1 * table['resident_mib'].max()))
    else:
      x = 'clients_per_round' if part == 'cohorts' else 'population'
      axis.plot(table[x], table['seconds_per_round'], marker='o')
      axis.set(xlabel=x.replace('_', ' '), ylabel='seconds per round', xscale='log')
      if part == 'cohorts':
        axis.set(yscale='log')
      else:
        axis.set(ylim=(0, 1.1 * table['seconds_per_round'].max()))
    axis.set_title(part)
    axis.grid(alpha=0.3)
  figure.tight_layout()
  figure.savefig(path, dpi=150)
  pyplot.close(figure)


def save(tables: dict[str, pd.DataFrame], described: dict[str, Any]) -> None:
  """Writes a CSV for each part, the picture and the machine's description."""
  folder = round_time.RESULTS
  folder.mkdir(exist_ok=True)
  for part, table in tables.items():
    table.to_csv(folder / f'scaling_{part}.csv', index=False)
  (folder / 'scaling_machine.json').write_text(json.dumps(described, indent=1) + '\n')
  plot(tables, folder / 'scaling.png')


def _print(tables: dict[str, pd.DataFrame]) -> None:
  for part, frame in tables.items():
    table = rich.table.Table(*frame.columns, title=part)
    for row in frame.itertuples(index=False):
      table.add_row(
        *(f'{value:,.4f}' if isinstance(value, float) else f'{value:,}' for value in row)
      )
    rich.console.Console().print(table)


def _parts(given: Sequence[str]) -> list[str]:
  names = [name for text in given for name in text.split(',')]
  for name in names:
    registry.lookup('part', name, dict.fromkeys(PARTS))
  return [part for part in PARTS if part in names]


def main(argv: Sequence[str]) -> int:
  values = flags.FlagValues()
  own: dict[str, Any] = {'flag_values': values}
  flags.DEFINE_multi_string('part', list(PARTS), 'which parts, repeatable or with commas', **own)
  flags.DEFINE_integer('rounds', 10, 'timed rounds of each case', 1, **own)
  flags.DEFINE_integer('memory_rounds', 1000, 'rounds whose memory is watched', 1, **own)
  flags.DEFINE_bool('json', False, 'one JSON object per part on stdout, nothing else', **own)
  flags.DEFINE_bool('save', False, 'write CSVs and a picture to benchmarks/results', **own)
  if command_line.wants_help(argv):
    lines = {'Flags': round_time.flag_lines(values)}
    command_line.print_help('python -m benchmarks.scaling', INTRODUCTION, lines)
    return 0
  command_line.parse(values, argv)
  described = machine.describe()
  tables = {}
  for part in _parts(values.part):
    try:
      tables[part] = measure(part, values.rounds, values.memory_rounds)
    except processes.ProcessError as error:
      print(f'scaling: {error}', file=sys.stderr)
      return 1
    if values.json:
      print(json.dumps({'part': part, 'rows': tables[part].to_dict('records')}), flush=True)
  if not values.json:
    _print(tables)
  if values.save:
    save(tables, described)
  return 0


if __name__ == '__main__':
  command_line.run_main(main)

"""What the Ray runtime costs and gains against the fused one, and how memory behaves."""

from collections.abc import Mapping, Sequence
import contextlib
import json
import math
import pathlib
import statistics
import sys
import tempfile
from typing import Any

from absl import flags
import pandas as pd
import rich.console
import rich.table

from benchmarks import machine, processes, round_time, works
from experiments import command_line
from fl_research import registry

INTRODUCTION = """
Measures `--runtime=ray` on this machine, every case in a process of its own, their rounds in turns:

  overhead    seconds per round on W1 to W6, with one and two threads or actors
  efficiency  the same for rounds of several seconds, and the projection to more cores
  chunks      what a chunk costs the driver
  rounds      memory over many rounds, of the driver and of all processes together
  cohorts     memory of the fused runtime by size of the cohort, made at once and slice by slice

  python -m benchmarks.ray_time --part=overhead --save
"""

PARTS = ('overhead', 'efficiency', 'chunks', 'rounds', 'cohorts')
WORKS = ('W1', 'W2', 'W3', 'W4', 'W5', 'W6-scaffold', 'W6-median')
COHORTS = (1_000, 10_000, 100_000)
CORES = (1, 2, 10, 100, 1000)
"""What the projection is made for; two were measured."""

_PROGRAMS = {
  'fused, 1 thread': {'runtime': 'fused', 'parallelism': 1},
  'ray, 1 actor': {'runtime': 'ray', 'parallelism': 1},
  'fused, 2 threads': {'runtime': 'fused', 'parallelism': 2},
  'ray, 2 actors': {'runtime': 'ray', 'parallelism': 2},
}
_WARM_UP = 2
_HEAVY, _HEAVY_CLIENTS = 'W2', 24
_CHUNKS = (8, 100)


def _start(asked: Mapping[str, Any]) -> processes.Process:
  return processes.Process('benchmarks.ray_worker', json.dumps(asked))


def in_turns(cases: Mapping[str, Mapping[str, Any]], rounds: int) -> dict[str, list[dict]]:
  """The answers of so many rounds of each case, taking turns, after a warm-up."""
  answers: dict[str, list[dict]] = {name: [] for name in cases}
  with contextlib.ExitStack() as stack:
    running = {name: stack.enter_context(_start(asked)) for name, asked in cases.items()}
    for round_num in range(1, _WARM_UP + rounds + 1):
      for name, process in running.items():
        answer = process.ask({'round': round_num})
        if round_num > _WARM_UP:
          answers[name].append(answer)
  return answers


def _median(answers: Sequence[Mapping[str, float]], what: str = 'seconds') -> float:
  return statistics.median(answer[what] for answer in answers)


def _answers(work: str, rounds: int, **asked: Any) -> dict[str, list[dict]]:
  """The answers of each program on a work."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'data.npz'
    works.save(works.WORKS[work], path)
    given = {'work': work, 'data': str(path), **asked}
    return in_turns({name: {**given, **own} for name, own in _PROGRAMS.items()}, rounds)


def _timed(work: str, rounds: int) -> dict[str, Any]:
  """Seconds per round of each program on a work."""
  return {'work': work, **{name: _median(own) for name, own in _answers(work, rounds).items()}}


def overhead(names: Sequence[str], rounds: int) -> pd.DataFrame:
  """Seconds per round, and what Ray takes beyond the fused runtime."""
  table = pd.DataFrame([_timed(name, rounds) for name in names])
  for number, thread, actor in ((1, '1 thread', '1 actor'), (2, '2 threads', '2 actors')):
    table[f'overhead {number}'] = table[f'ray, {actor}'] - table[f'fused, {thread}']
  return table


def chunks(rounds: int) -> pd.DataFrame:
  """The driver's processor time by number of chunks, on a work of many small clients."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'data.npz'
    works.save(works.WORKS['W3'], path)
    given = {'work': 'W3', 'data': str(path), 'runtime': 'ray', 'parallelism': 1}
    answers = in_turns({str(n): {**given, 'chunks': n} for n in _CHUNKS}, rounds)
  rows = [
    {
      'chunks': int(name),
      'seconds': _median(own),
      'driver_cpu_seconds': _median(own, 'driver_cpu_seconds'),
    }
    for name, own in answers.items()
  ]
  table = pd.DataFrame(rows)
  few, many = table.driver_cpu_seconds
  table['per_chunk'] = (many - few) / (_CHUNKS[1] - _CHUNKS[0])
  return table


def efficiency(rounds: int) -> pd.DataFrame:
  """Long rounds on one and two actors, and the projection to more.

  With C = A chunks on A cores a round takes T(A) = S + D A + W / A: S is what the server does by
  itself, D the driver's time for a chunk, W the clients' work in seconds of a core. More cores help
  until A = sqrt(W / D), where a core more costs the driver as much as it takes from the others.
  S and D are the driver's processor time, W the rest of a round on one actor. Cores that share a
  processor's units give less than their number: what they give the fused runtime is told too.
  """
  answers = _answers(_HEAVY, rounds, clients=_HEAVY_CLIENTS)
  measured = {name: _median(own) for name, own in answers.items()}
  one, two = measured['ray, 1 actor'], measured['ray, 2 actors']
  driver = _median(answers['ray, 1 actor'], 'driver_cpu_seconds')
  per_chunk = float(chunks(rounds).per_chunk.iloc[0])
  serial, work = max(0.0, driver - _CHUNKS[0] * per_chunk), one - driver
  rows = []
  for cores in CORES:
    seconds = serial + per_chunk * cores + work / cores
    found = {1: one, 2: two}.get(cores)
    rows.append(
      {
        'cores': cores,
        'seconds': seconds if found is None else found,
        'kind': 'projected' if found is None else 'measured',
        'speedup': one / (seconds if found is None else found),
      }
    )
  table = pd.DataFrame(rows)
  table['fused_speedup'] = measured['fused, 1 thread'] / measured['fused, 2 threads']
  table['serial_seconds'], table['chunk_seconds'], table['work_seconds'] = serial, per_chunk, work
  table['most_useful_cores'] = int(math.sqrt(work / per_chunk)) if per_chunk > 0 else 0
  return table


def memory_of_rounds(rounds: int) -> pd.DataFrame:
  """Resident memory of one process and of all of its cluster, over many rounds."""
  rows = []
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'data.npz'
    works.save(works.WORKS['W1'], path)
    asked = {'work': 'W1', 'data': str(path), 'runtime': 'ray', 'parallelism': 2}
    with _start(asked) as process:
      for round_num in range(1, rounds + 1):
        answer = process.ask({'round': round_num})
        if round_num % max(1, rounds // 40) == 0:
          mib = {f'{n}_mib': answer[f'{n}_bytes'] / 2**20 for n in ('resident', 'family')}
          rows.append({'round': round_num, **mib})
  return pd.DataFrame(rows)


def memory_of_cohorts() -> pd.DataFrame:
  """The fused runtime's peak, less what it takes before its first large round, by cohort."""
  rows = []
  for whole in (True, False):
    for clients in COHORTS:
      asked = {'work': 'W3', 'population': 2 * clients, 'clients': clients, 'runtime': 'fused'}
      with _start({**asked, 'whole': whole}) as process:
        answer = process.ask({'round': 1})
      rows.append(
        {
          'clients': clients,
          'made': 'at once' if whole else 'by slices',
          'peak_mib': answer['peak_bytes'] / 2**20,
          'seconds': answer['seconds'],
        }
      )
  return pd.DataFrame(rows)


def plot(tables: Mapping[str, pd.DataFrame], path: pathlib.Path) -> None:
  """The memory of rounds and of cohorts, of what there is."""
  import matplotlib

  matplotlib.use('Agg')
  from matplotlib import pyplot

  figure, axes = pyplot.subplots(1, len(tables), figsize=(5 * len(tables), 3.6), squeeze=False)
  for axis, (part, table) in zip(axes[0], tables.items()):
    if part == 'rounds':
      axis.plot(table['round'], table['resident_mib'], label='driver')
      axis.plot(table['round'], table['family_mib'], label='driver, actors and Ray')
      axis.set(xlabel='round', ylim=(0, 1.1 * table['family_mib'].max()))
    else:
      for made, own in table.groupby('made'):
        axis.plot(own['clients'], own['peak_mib'], marker='o', label=made)
      axis.set(xlabel='clients per round', xscale='log', ylim=(0, 1.1 * table['peak_mib'].max()))
    axis.set_ylabel('memory (MiB)')
    axis.legend()
    axis.grid(alpha=0.3)
  figure.tight_layout()
  figure.savefig(path, dpi=120)
  pyplot.close(figure)


def measure(part: str, names: Sequence[str], rounds: int, memory_rounds: int) -> pd.DataFrame:
  """One part's table."""
  return {
    'overhead': lambda: overhead(names, rounds),
    'efficiency': lambda: efficiency(rounds),
    'chunks': lambda: chunks(rounds),
    'rounds': lambda: memory_of_rounds(memory_rounds),
    'cohorts': memory_of_cohorts,
  }[part]()


def save(part: str, table: pd.DataFrame, described: Mapping[str, Any]) -> None:
  """Writes the table, the picture of all memory tables there are, and the machine."""
  folder = round_time.RESULTS
  folder.mkdir(exist_ok=True)
  table.to_csv(folder / f'ray_{part}.csv', index=False)
  (folder / f'ray_{part}_machine.json').write_text(json.dumps(described, indent=1) + '\n')
  files = {name: folder / f'ray_{name}.csv' for name in ('rounds', 'cohorts')}
  there = {name: pd.read_csv(path) for name, path in files.items() if path.exists()}
  if there:
    plot(there, folder / 'ray_memory.png')


def _print(part: str, frame: pd.DataFrame) -> None:
  table = rich.table.Table(*frame.columns, title=part)
  for row in frame.itertuples(index=False):
    table.add_row(*(f'{v:,.4f}' if isinstance(v, float) else str(v) for v in row))
  rich.console.Console(width=None if sys.stdout.isatty() else 150).print(table)


def _names(flag: str, given: Sequence[str], known: Sequence[str]) -> list[str]:
  names = [name for text in given for name in text.split(',')]
  for name in names:
    registry.lookup(flag, name, dict.fromkeys(known))
  return names


def main(argv: Sequence[str]) -> int:
  values = flags.FlagValues()
  own: dict[str, Any] = {'flag_values': values}
  flags.DEFINE_multi_string('part', list(PARTS), 'which parts, repeatable or with commas', **own)
  flags.DEFINE_multi_string('work', list(WORKS), 'the works of the overhead', **own)
  flags.DEFINE_integer('rounds', 10, 'timed rounds of each case', 1, **own)
  flags.DEFINE_integer('memory_rounds', 200, 'rounds whose memory is watched', 1, **own)
  flags.DEFINE_bool('save', False, 'write CSVs and a picture to benchmarks/results', **own)
  if command_line.wants_help(argv):
    lines = {'Flags': round_time.flag_lines(values)}
    command_line.print_help('python -m benchmarks.ray_time', INTRODUCTION, lines)
    return 0
  command_line.parse(values, argv)
  names = _names('work', values.work, list(works.WORKS))
  for part in _names('part', values.part, PARTS):
    described = machine.describe()
    try:
      table = measure(part, names, values.rounds, values.memory_rounds)
    except processes.ProcessError as error:
      print(f'ray_time: {error}', file=sys.stderr)
      return 1
    _print(part, table)
    if values.save:
      save(part, table, described)
  return 0


if __name__ == '__main__':
  command_line.run_main(main)

"""What it saves that the runs of a sweep share processes.

    python -m benchmarks.sweeps --save
    python -m benchmarks.sweeps --work=seeds --seeds=4 --ray

Three sweeps of the demo (100 rounds, 5 of 20 clients): over seeds alone, so that all runs have the
same graphs; over seeds and learning rates; over seeds, algorithms and models, of which no two have
a graph in common. Each is made twice. The first time by the commands that `--launch=print` gives: a
process for each run, as many side by side as there are cores, and on these. The second time by
`experiments.sweep`; with `--ray` a third time on a Ray of this machine. All must give the same
metrics.csv, but for seconds. Results go to a temporary folder (see TMPDIR).
"""

import argparse
from collections.abc import Callable
import concurrent.futures
import os
import pathlib
import queue
import resource
import shlex
import subprocess
import sys
import tempfile
import time

import pandas as pd

from benchmarks import machine, processes
from fl_research.sweeps import local_slots

RESULTS = processes.ROOT / 'benchmarks' / 'results' / 'sweeps.txt'
WORKS = {
  'seeds': (1, []),
  'learning rates': (4, ['client_learning_rate=0.05,0.1,0.2,0.4']),
  'programs': (12, ['algorithm=fedavg,fedprox,scaffold,mime', 'model=softmax,2nn,mlp']),
}
"""What is swept beside the seed, and how many cells that makes."""

RUNS = 24


def sweep(axes: list[str], launch: str, folder: pathlib.Path) -> list[str]:
  """The command of a sweep."""
  grid = [f'--grid={axis}' for axis in axes]
  given = ['--flagfile=experiments/demo.flags', f'--output_dir={folder}', f'--launch={launch}']
  return [sys.executable, '-m', 'experiments.sweep', *given, *grid]


def alone(axes: list[str], folder: pathlib.Path) -> None:
  """Makes the runs in processes of their own."""
  printed = subprocess.run(
    sweep(axes, 'print', folder), cwd=processes.ROOT, check=True, capture_output=True, text=True
  )
  free: queue.Queue[local_slots.Cores] = queue.Queue()
  for cores in local_slots.shares_of_cores(len(os.sched_getaffinity(0))):
    free.put(cores)

  def run(line: str) -> None:
    cores = free.get()
    where = lambda: os.sched_setaffinity(0, cores)
    command, nowhere = shlex.split(line), subprocess.DEVNULL
    subprocess.run(
      command, cwd=processes.ROOT, check=True, preexec_fn=where, stdout=nowhere, stderr=nowhere
    )
    free.put(cores)

  with concurrent.futures.ThreadPoolExecutor(free.qsize()) as pool:
    list(pool.map(run, printed.stdout.splitlines()))


def shared(axes: list[str], launch: str, folder: pathlib.Path) -> None:
  """Makes the runs as a sweep does."""
  command = sweep(axes, launch, folder)
  subprocess.run(command, cwd=processes.ROOT, check=True, stdout=subprocess.DEVNULL)


def measure(make: Callable[[pathlib.Path], None], folder: pathlib.Path) -> tuple[float, float]:
  """Seconds, and processor seconds of all processes."""
  before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
  make(folder)
  after = resource.getrusage(resource.RUSAGE_CHILDREN)
  cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
  return time.monotonic() - begin, cpu


def rows(folder: pathlib.Path) -> dict[str, str]:
  """By run, its metrics.csv without seconds."""
  found = {}
  for path in folder.glob('demo/*/metrics.csv'):
    found[path.parent.name] = pd.read_csv(path, dtype=str).drop(columns='seconds').to_csv()
  return found


def compare(name: str, seeds: int, with_ray: bool) -> list[str]:
  """The lines of the table about one sweep.

  Raises:
    RuntimeError: the same run has not always given the same.
  """
  cells, axes = WORKS[name]
  axes = [*axes, f'seed={",".join(map(str, range(seeds or RUNS // cells)))}']
  ways: dict[str, Callable[[pathlib.Path], None]] = {
    'a process each': lambda folder: alone(axes, folder),
    'shared processes': lambda folder: shared(axes, 'local', folder),
  }
  if with_ray:
    ways['on Ray'] = lambda folder: shared(axes, 'ray', folder)
  lines, first, expected = [], (0.0, 0.0), None
  for way, make in ways.items():
    with tempfile.TemporaryDirectory() as scratch:
      folder = pathlib.Path(scratch)
      taken = measure(make, folder)
      found = rows(folder)
    first, expected = (taken, found) if expected is None else (first, expected)
    if found != expected:
      raise RuntimeError(f'{name}, {way}: other metrics than of runs with a process each')
    figures = [*taken, *(old / new for old, new in zip(first, taken))]
    lines.append(f'{name:<16}{len(found):>5}  {way:<18}' + ''.join(f'{x:>12.1f}' for x in figures))
    print(lines[-1], flush=True)
  return lines


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--work', choices=list(WORKS), action='append', help='all when not given')
  parser.add_argument('--seeds', type=int, default=0, help=f'0: as many as make {RUNS} runs')
  parser.add_argument('--ray', action='store_true')
  parser.add_argument('--save', action='store_true')
  given = parser.parse_args()
  lines = [f'{key}: {value}' for key, value in machine.describe().items()]
  columns = ('seconds', 'CPU seconds', 'times', 'CPU times')
  lines.append(f'{"sweep over":<16}{"runs":>5}  {"":<18}' + ''.join(f'{c:>12}' for c in columns))
  print('\n'.join(lines), flush=True)
  for name in given.work or WORKS:
    lines += compare(name, given.seeds, given.ray)
  if given.save:
    RESULTS.write_text('\n'.join(lines) + '\n')


if __name__ == '__main__':
  main()

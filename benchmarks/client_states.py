"""What it costs to keep the states of many clients: seconds, bytes written, memory.

    python -m benchmarks.client_states --clients=10000 --floats=25000 --cohort=50

All clients get a state of their own; then, in each round, a cohort's states are read and written
and a checkpoint is saved. Prints medians over the rounds, and the memory taken beside the
libraries'. The states are in a temporary folder (see TMPDIR).
"""

import argparse
from collections.abc import Callable
import pathlib
import resource
import statistics
import tempfile
import time

import numpy as np

from fl_research.training import checkpoints, client_states


def measure(clients: int, floats: int, cohort: int, rounds: int) -> dict[str, float]:
  """Figures by name."""
  generator = np.random.default_rng(0)
  draw = lambda: [generator.standard_normal((cohort, floats), np.float32)]
  figures: dict[str, list[float]] = {}
  before = _memory()

  def timed(name: str, action: Callable[..., object], *arguments) -> None:
    begin = time.monotonic()
    action(*arguments)
    figures.setdefault(f'{name}, ms', []).append(1000 * (time.monotonic() - begin))

  def open_store() -> tuple[client_states.ClientStates, checkpoints.CheckpointStore]:
    initial = [np.zeros(floats, np.float32)]
    states = client_states.ClientStates(initial, folder / client_states.FILE)
    return states, checkpoints.CheckpointStore(folder, 3, states)

  with tempfile.TemporaryDirectory() as scratch:
    folder = pathlib.Path(scratch)
    states, store = open_store()
    save = lambda number: store.save(checkpoints.Checkpoint(number, [np.zeros(floats)], {}))
    for first in range(0, clients, cohort):
      states.put(range(first, min(first + cohort, clients)), draw())
    save(1)
    for number in range(2, rounds + 2):
      ids, new = generator.choice(clients, cohort, replace=False), draw()
      timed('get', states.get, ids)
      timed('put', states.put, ids, new)
      written = _written()
      timed('checkpoint', save, number)
      figures.setdefault('checkpoint, MB written', []).append((_written() - written) / 1e6)
    states.close()
    states, store = open_store()
    timed('resume', store.restore)
    states.close()
    figures['files, MB'] = [sum(path.stat().st_size for path in folder.iterdir()) / 1e6]
  figures['memory, MB'] = [_memory() - before]
  return {name: statistics.median(values) for name, values in figures.items()}


def _memory() -> float:
  """The largest memory of this process so far, in MB."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _written() -> int:
  """Bytes that this process has written to files."""
  lines = pathlib.Path('/proc/self/io').read_text().splitlines()
  return int(dict(line.split(': ') for line in lines)['wchar'])


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--clients', type=int, default=10_000, help='clients that have a state')
  parser.add_argument('--floats', type=int, default=25_000, help='float32 numbers in a state')
  parser.add_argument('--cohort', type=int, default=50, help='clients in a round')
  parser.add_argument('--rounds', type=int, default=20)
  for name, value in measure(**vars(parser.parse_args())).items():
    print(f'{name:24}{value:10.1f}')


if __name__ == '__main__':
  main()

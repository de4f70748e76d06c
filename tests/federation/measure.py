"""What the way through Flower costs by itself: seconds of a round, and memory of each program.

    python -m tests.federation.measure --rounds=10

Three sites repeat what they are told, all on this machine, with TLS and keys; so a message crosses
four programs there and back, and all of them share the cores. Needs `make flower`.
"""

import argparse
import os
import pathlib
import statistics
import tempfile
import time

from fl_research.federation import addresses, process_tree
from fl_research.federation.direct import Direct
from fl_research.federation.processes import Processes
from tests.federation.with_flower import Federation, SITES

_SIZES = (0, 1_000_000, 100_000_000)


def seconds(transport, size: int, rounds: int) -> str:
  """How long rounds take in which every site is sent so many bytes, and sends them back."""
  taken = []
  for _ in range(rounds):
    request = os.urandom(size)
    begin = time.monotonic()
    replies = dict(transport.ask({site: request for site in SITES}, None))
    taken.append(time.monotonic() - begin)
    assert replies == {site: request for site in SITES}
  return f'{statistics.median(taken):8.3f} s  ({min(taken):.3f} to {max(taken):.3f})'


def peak_megabytes(pid: int) -> int:
  """The most memory that a process has had."""
  for line in pathlib.Path(f'/proc/{pid}/status').read_text().splitlines():
    if line.startswith('VmHWM:'):
      return int(line.split()[1]) // 1000
  return 0


def memory(processes: Processes) -> None:
  """Prints the most memory that each program has had."""
  for name in ('superlink', 'gate', 'node-a', 'site-a'):
    print(f'    {name}: {peak_megabytes(processes.pid(name))} MB')
  for process in process_tree.descendants(processes.pid('superlink')):
    program = pathlib.Path(process.command.split()[1]).name
    print(f'    {program}: {peak_megabytes(process.pid)} MB')


def main() -> None:
  """Measures, and prints."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--rounds', type=int, default=10)
  rounds = parser.parse_args().rounds
  with tempfile.TemporaryDirectory(prefix='fl', dir='/tmp') as name:
    folder = pathlib.Path(name)
    with Processes(folder / 'logs') as processes:
      begin = time.monotonic()
      federation = Federation(folder, processes)
      print(f'up after {time.monotonic() - begin:.0f} s')
      memory(processes)
      sockets = {s: addresses.parse('--federation', f'unix:{folder}/{s}.sock') for s in SITES}
      for size in _SIZES:
        number = rounds if size < 10_000_000 else max(1, rounds // 3)
        print(f'{size / 1e6:g} MB to and from each of {len(SITES)} sites')
        print(f'  Flower {seconds(federation.engine, size, number)}')
        print(f'  direct {seconds(Direct(sockets), size, number)}')
        memory(processes)
      federation.engine.close()


if __name__ == '__main__':
  main()

"""Kills drivers, actors and nodes of runs on Ray, in turn, and compares with the fused runtime.

    python -m tests.soak_ray --kills=200
    python -m tests.soak_ray --actors           (the same bytes on 1, 2 and 8 actors)

A cluster of two nodes runs here. A driver is killed and started again, and resumes; of an actor the
process is killed; a node is killed as a whole, and another takes its place. The final weights,
clients.csv and metrics.csv must be byte for byte those of a run on the fused runtime that nobody
disturbed, the `seconds` column aside. Takes some ten seconds per kill; not part of the test suite.
"""

import argparse
import contextlib
import itertools
import math
import os
import pathlib
import random
import signal
import sys
import tempfile
import time

from benchmarks import processes
from tests import soak_kills

VICTIMS = ('driver', 'actor', 'node')
NODE = {'num_cpus': 1, 'object_store_memory': 150 << 20}
NOTICED_SECONDS = 60.0
"""After how long all of a cluster surely know that a node is lost."""
FLAGS = (*soak_kills.FLAGS, '--algorithm=scaffold', '--client_chunks=4')


class Cluster:
  """A head and a node, of one core each, as processes of this machine."""

  def __init__(self):
    from ray import cluster_utils

    head = {**NODE, 'include_dashboard': False}
    self._cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    self._node = self._cluster.add_node(**NODE)

  @property
  def flags(self) -> tuple[str, ...]:
    """What a run on it is started with."""
    return ('--runtime=ray', f'--ray_address={self._cluster.address}')

  def lose_node(self) -> None:
    """Kills the node that is not the head, and adds another one."""
    self._cluster.remove_node(self._node, allow_graceful=False)
    self._node = self._cluster.add_node(**NODE)

  def close(self) -> None:
    self._cluster.shutdown()


def actors() -> list[int]:
  """The processes of the cluster's actors, by the title that Ray gives them."""
  found = []
  for pid in processes.family(os.getpid()):
    with contextlib.suppress(OSError):
      if pathlib.Path(f'/proc/{pid}/cmdline').read_bytes().startswith(b'ray::ChunkActor'):
        found.append(pid)
  return found


def wait_for_rows(process, folder: pathlib.Path, rows: int) -> bool:
  """Waits until metrics.csv has so many rows more; whether the run still goes on."""
  wanted = soak_kills.last_round(folder) + rows
  while process.poll() is None and soak_kills.last_round(folder) < wanted:
    time.sleep(0.02)
  return process.poll() is None


def kill(victim: str, process, cluster: Cluster, draw: random.Random) -> None:
  """Kills a driver, an actor or a node."""
  if victim == 'driver':
    process.kill()
    process.wait()
  elif victim == 'node':
    cluster.lose_node()
  elif there := actors():
    os.kill(draw.choice(there), signal.SIGKILL)


def survive(folder: pathlib.Path, flags, kills: int, cluster: Cluster, draw) -> int:
  """Runs to the end under so many kills; gives how many there were."""
  done, lost_at = 0, -math.inf
  victims = itertools.cycle(VICTIMS)
  process = soak_kills.start('experiments.train', folder, *flags)
  while done < kills:
    if not wait_for_rows(process, folder, draw.randint(1, 8)):
      if process.returncode == 0 or time.monotonic() > lost_at + NOTICED_SECONDS:
        break
      # Ray joins a driver to a node, for a while to one that is lost too, and ends it with that.
      print(f'the driver ended with the node (exit code {process.returncode})', flush=True)
      process = soak_kills.start('experiments.train', folder, *flags)
      continue
    victim = next(victims)
    kill(victim, process, cluster, draw)
    if victim == 'node':
      lost_at = time.monotonic()
    done += 1
    print(f'kill {done}: {victim}; at round {soak_kills.last_round(folder)}', flush=True)
    if victim == 'driver':
      process = soak_kills.start('experiments.train', folder, *flags)
  _, complaints = process.communicate()
  assert process.returncode == 0, complaints
  return done


def compare_numbers(calm: pathlib.Path, scratch: str, flags) -> list[str]:
  """In which files runs on 1, 2 and 8 actors differ from the undisturbed one."""
  found = []
  for number in (1, 2, 8):
    folder = pathlib.Path(scratch, f'actors_{number}')
    own = ('--runtime=ray', f'--client_parallelism={number}', '--client_chunks=8')
    soak_kills.run_to_the_end(folder, (*flags, *own))
    found += [f'{name} on {number}' for name in soak_kills.differences(calm, folder)]
  return found


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--kills', type=int, default=30)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--actors', action='store_true', help='compare numbers of actors instead')
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as scratch:
    calm = pathlib.Path(scratch, 'calm')
    if options.actors:
      flags = (*FLAGS, '--total_rounds=10')
      soak_kills.run_to_the_end(calm, (*flags, '--client_chunks=8', '--runtime=fused'))
      found, what = compare_numbers(calm, scratch, flags), '1, 2 and 8 actors'
    else:
      flags = (*FLAGS, f'--total_rounds={9 * options.kills + 10}')
      cluster = Cluster()
      try:
        killed = pathlib.Path(scratch, 'killed')
        done = survive(
          killed, (*flags, *cluster.flags), options.kills, cluster, random.Random(options.seed)
        )
      finally:
        cluster.close()
      soak_kills.run_to_the_end(calm, (*flags, '--runtime=fused'))
      found, what = soak_kills.differences(calm, killed), f'{done} kills'
      what += f', {soak_kills.last_round(calm)} rounds'
  print(f'{what}: ' + (f'DIFFER in {found}' if found else 'equal'))
  sys.exit(1 if found else 0)


if __name__ == '__main__':
  main()

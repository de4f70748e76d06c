"""The process of `benchmarks.scaling`: rounds of softmax regression on clients made on demand.

    python -m benchmarks.scaling_worker <population> <clients per round>

{"round": 3} -> {"seconds": 0.1, "resident_bytes": 500000000}
"""

import json
import os
import sys
import time

import numpy as np

from benchmarks import processes, works
from fl_research.datasets import federated_data
from fl_research.population import cohorts

EXAMPLES = 50
"""How many examples every client has, so that rounds differ in their number of clients only."""

_DIMENSION, _CLASSES, _POOL = 60, 10, 10_000


class LazyClients(federated_data.Clients):
  """Any number of clients, each a window of one small pool: none takes memory of its own."""

  def __init__(self, count: int):
    self._ids = federated_data.NumberedIds(count)
    self._sizes = np.full(count, EXAMPLES, np.int64)
    self._pool = works.vectors(np.array([_POOL]), _DIMENSION, _CLASSES)

  @property
  def ids(self):
    return self._ids

  @property
  def sizes(self):
    return self._sizes

  def examples(self, position):
    first = 7919 * position % (_POOL - EXAMPLES)
    return {key: self._pool[key][first : first + EXAMPLES] for key in ('x', 'y')}


def main(argv: list[str]) -> None:
  """Serves until the input ends."""
  population, clients_per_round = map(int, argv)
  from benchmarks.competitors import ours

  # As a run has them whose other clients are held out.
  clients = LazyClients(population + population // 4).select(np.arange(population))
  job = works.Job('W3', clients)
  sampler = cohorts.CohortSampler(
    sampling='uniform',
    clients_per_round=clients_per_round,
    sizes=job.clients.sizes,
    seed=works.SEED,
    availability=None,
  )
  program = ours.Ours(job, 'auto', sampler.cohort)
  for line in sys.stdin:
    begin = time.perf_counter()
    round_num = json.loads(line)['round']
    program.round(round_num)
    for position in sampler.cohort(round_num):  # As the rows of the round name them.
      _ = clients.ids[position]
    seconds = time.perf_counter() - begin
    answer = {'seconds': seconds, 'resident_bytes': processes.resident_bytes(os.getpid())}
    print(json.dumps(answer), flush=True)


if __name__ == '__main__':
  main(sys.argv[1:])

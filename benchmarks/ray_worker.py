"""The process of `benchmarks.ray_time`: rounds of a work on any runtime, without XLA.

    python -m benchmarks.ray_worker '{"work": "W1", "data": "w1.npz", "runtime": "ray"}'

Further keys: "parallelism", "chunks", "clients" of a round, "population" of clients made on demand
instead of the work's own, "whole" to have a cohort stand side by side in memory.

{"round": 3} -> {"seconds": 0.1, "driver_cpu_seconds": 0.02, "resident_bytes": 1, "family_bytes": 2}
"""

import json
import os
import pathlib
import sys
import time
from typing import Any

import numpy as np

from benchmarks import processes, scaling_worker, works
from fl_research import client_data, random_streams


class Rounds:
  """A federated process of this library on cohorts that are described."""

  def __init__(self, asked: dict[str, Any]):
    from benchmarks.competitors import ours
    from fl_research import runtime
    from fl_research.training import client_states

    self._context = runtime.set_context(
      asked['runtime'], asked.get('chunks'), 'off', asked.get('parallelism')
    )
    if 'population' in asked:
      self._job = works.Job(asked['work'], scaling_worker.LazyClients(asked['population']))
    else:
      self._job = works.Job.load(asked['work'], pathlib.Path(asked['data']))
    self._clients = asked.get('clients', self._job.work.clients_per_round)
    self._whole = asked.get('whole', False)
    self._source = client_data.Source(self._job.clients)
    self._process = ours.build_process(self._job)
    self._state = self._process.initialize()
    self._client_states = client_states.build(self._process)

  def round(self, round_num: int) -> None:
    """One round."""
    result = self._process.run_round(self._state, self._cohort(round_num), self._client_states)
    self._state = result.state

  def _cohort(self, round_num: int):
    from fl_research import runtime

    generator = random_streams.generator(works.SEED, 'cohort', round_num)
    drawn = np.sort(generator.choice(len(self._job.clients), self._clients, replace=False))
    cohort = client_data.cohort(
      self._source,
      drawn,
      np.ones(len(drawn)),
      batch_size=self._job.work.batch_size,
      seed=works.SEED,
      round_num=round_num,
    )
    return runtime.stack_clients(cohort.make() if self._whole else cohort)


def main(argv: list[str]) -> None:
  """Serves until the input ends."""
  answers = os.fdopen(os.dup(1), 'w', buffering=1)
  os.dup2(2, 1)
  rounds = Rounds(json.loads(argv[0]))
  for line in sys.stdin:
    begin, cpu = time.perf_counter(), time.process_time()
    rounds.round(json.loads(line)['round'])
    answer = {
      'seconds': time.perf_counter() - begin,
      'driver_cpu_seconds': time.process_time() - cpu,
      'resident_bytes': processes.resident_bytes(os.getpid()),
      'peak_bytes': processes.peak_bytes(os.getpid()),
      'family_bytes': sum(map(processes.resident_bytes, processes.family(os.getpid()))),
    }
    answers.write(json.dumps(answer) + '\n')


if __name__ == '__main__':
  main(sys.argv[1:])

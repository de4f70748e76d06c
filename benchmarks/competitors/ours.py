"""This library, as `experiments.train` runs it with `--jit=auto`, on either runtime.

A round is timed from asking for its cohort's data to having its results. As in the training loop,
a thread prepares the next round's data meanwhile; the time ends only when both are done.
"""

from collections.abc import Callable
import concurrent.futures
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from benchmarks import works
from fl_research import aggregation, algorithms, optimizers, runtime, settings
from fl_research.round import composition as process_lib


def build(job: works.Job, *, runtime: str) -> 'Ours':
  """The registry's entry point."""
  return Ours(job, runtime)


class Ours:
  """A federated process of this library, run round by round.

  Args:
    job: what to train.
    runtime_name: one of `runtime.NAMES`.
    cohort: positions of the clients of a round; those of the job when None.
  """

  def __init__(
    self,
    job: works.Job,
    runtime_name: str,
    cohort: Optional[Callable[[int], np.ndarray]] = None,
  ):
    defaults: dict[str, Any] = {field.name: field.default for field in settings.fields()}
    parallelism = defaults['client_parallelism'] or None
    self._context = runtime.set_context(runtime_name, parallelism, 'auto')
    self._job = job
    self._cohort = cohort or job.cohort
    self._process = build_process(job)
    self._state = self._process.initialize()
    self._client_states: dict[int, Any] = {}
    self._preparing = concurrent.futures.ThreadPoolExecutor(1)
    self._upcoming: dict[int, concurrent.futures.Future] = {}

  def prepare(self, round_num: int) -> None:
    """Nothing: preparing data is part of a round."""

  def round(self, round_num: int) -> None:
    """One round, and the next one's data."""
    upcoming = self._upcoming.pop(round_num, None)
    clients = upcoming.result() if upcoming else self._cohort_data(round_num)
    following = self._preparing.submit(self._cohort_data, round_num + 1)
    result = self._process.next(self._state, self._with_states(clients))
    self._state = result[0]
    if self._process.keeps_client_state:
      self._keep_states(result[2])
    np.asarray(result[1]['report']['values'])
    following.result()
    self._upcoming[round_num + 1] = following

  def weights(self) -> tuple[np.ndarray, ...]:
    """The global model."""
    return self._process.model_weights(self._state)

  def facts(self) -> dict[str, Any]:
    """What the runtime did."""
    return self._context.report()

  def _cohort_data(self, round_num: int) -> list:
    clients = [self._job.client_data(round_num, int(k)) for k in self._cohort(round_num)]
    return clients if self._process.keeps_client_state else runtime.stack_clients(clients)

  def _with_states(self, clients: list) -> list:
    if not self._process.keeps_client_state:
      return clients
    initial = self._process.initial_client_state
    states = self._client_states
    return [{'data': data, 'state': states.get(int(data['client']), initial)} for data in clients]

  def _keep_states(self, kept: Any) -> None:
    arrays = [np.asarray(leaf) for leaf in tf.nest.flatten(kept['state'])]
    for row, client in enumerate(np.asarray(kept['client'])):
      state = [array[row].copy() for array in arrays]
      initial = self._process.initial_client_state
      self._client_states[int(client)] = tf.nest.pack_sequence_as(initial, state)


def build_process(job: works.Job) -> process_lib.FederatedProcess:
  """The process that `experiments.train` would build for a work."""
  work = job.work
  return process_lib.build_process(
    process_lib.Parts(
      model=job.build_model(),
      algorithm=algorithms.build(work.algorithm, {}),
      client_optimizer=optimizers.build('sgd', work.learning_rate, {}),
      server_optimizer=optimizers.build('sgd', 1.0, {}),
      aggregator=aggregation.build(work.aggregator, {}),
      batch_size=work.batch_size,
      population_size=len(job.clients),
    )
  )

"""This library, as `experiments.train` runs it with `--jit=auto`, on either runtime.

A round is timed from asking for its cohort's data to having its results. As in the training loop,
a thread prepares the next round's data meanwhile; the time ends only when both are done.
"""

from collections.abc import Callable
import concurrent.futures
from typing import Any, Optional

import numpy as np

from benchmarks import works
from fl_research import aggregation, algorithms, optimizers, runtime, settings
from fl_research.round import composition
from fl_research.round import process as process_lib
from fl_research.round.parts import Parts
from fl_research.training import client_states


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
    self._context = runtime.set_context(runtime_name, defaults['client_chunks'], 'auto')
    self._job = job
    self._cohort = cohort or job.cohort
    self._process = build_process(job)
    self._state = self._process.initialize()
    self._client_states = client_states.build(self._process)
    self._preparing = concurrent.futures.ThreadPoolExecutor(1)
    self._upcoming: dict[int, concurrent.futures.Future] = {}

  def prepare(self, round_num: int) -> None:
    """Nothing: preparing data is part of a round."""

  def round(self, round_num: int) -> None:
    """One round, and the next one's data."""
    upcoming = self._upcoming.pop(round_num, None)
    clients = upcoming.result() if upcoming else self._cohort_data(round_num)
    following = self._preparing.submit(self._cohort_data, round_num + 1)
    result = self._process.run_round(self._state, clients, self._client_states)
    self._state = result.state
    np.asarray(result.measured['report']['values'])
    following.result()
    self._upcoming[round_num + 1] = following

  def weights(self) -> tuple[np.ndarray, ...]:
    """The global model."""
    return self._process.model_weights(self._state)

  def facts(self) -> dict[str, Any]:
    """What the runtime did."""
    return self._context.report()

  def _cohort_data(self, round_num: int) -> list:
    return runtime.stack_clients(self._job.cohort_data(round_num, self._cohort(round_num)))


def build_process(job: works.Job) -> process_lib.FederatedProcess:
  """The process that `experiments.train` would build for a work."""
  work = job.work
  return composition.build_process(
    Parts(
      model=job.build_model(),
      method=algorithms.build(work.algorithm, {}),
      client_optimizer=optimizers.build('sgd', work.learning_rate, {}),
      server_optimizer=optimizers.build('sgd', 1.0, {}),
      aggregator=aggregation.build(work.aggregator, {}),
      batch_size=work.batch_size,
      population_size=len(job.clients),
    )
  )

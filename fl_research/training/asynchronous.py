"""Asynchronous and semi-synchronous training: the server steps with what has arrived.

A `Scheduler` (`fl_research.population.scheduler`) says who works on which version of the model and
when results arrive. All that start between two steps of the server have the same version, so they
are trained together, as one cohort with one broadcast, right before the step that ends it; what
they have sent is held until it arrives. So nothing but the present state of the server is ever
needed, and what is in flight is results, which checkpoints keep.

Where a compressor decides how much is sent, that is known only when a client has been trained, and
its time with it: then those who start at one instant are trained at once.

A client's new state is stored when its result is used: whoever fails, or comes too late to be used,
leaves no trace, as in synchronous rounds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import math
from typing import Any, cast, Optional

import numpy as np
import tensorflow as tf

from fl_research import runtime
from fl_research.population import participation, scheduler, staleness
from fl_research.round import split
from fl_research.settings import Settings
from fl_research.training import client_states as client_states_lib
from fl_research.training import columns as columns_lib
from fl_research.training import driver
from fl_research.training.run_data import RunData

_SENT = 'sent'


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepPlan(participation.RoundPlan):
  """Who did what for one step of the server.

  `selected` are those that were given the model since the step before, `uploading` those whose
  results the step uses; stragglers are of the first, and dropouts fell silent since.

  Attributes:
    staleness: of the results used, int [n].
    factors: what their updates are multiplied by.
    discarded: how many results were thrown away, being too stale.
    concurrency: how many clients were at work on average.
  """

  staleness: np.ndarray
  factors: np.ndarray
  discarded: int
  concurrency: float


class Asynchronous:
  """A `driver.Driver` of steps by what has arrived.

  Args:
    settings: what to do.
    process: the method, in two halves.
    data: the data.
    events: who works when.
  """

  def __init__(
    self,
    settings: Settings,
    process: split.SplitProcess,
    data: RunData,
    events: scheduler.Scheduler,
  ):
    self._settings = settings
    self._process = process
    self._events = events
    self._data_of = driver.cohort_data(settings, data)
    self._sent: dict[int, split.Sent] = {}

  def columns(self) -> columns_lib.ByTrainedRound:
    return dict(COLUMNS)

  def saved(self) -> Mapping[str, np.ndarray]:
    """The events' state, and the leaves of all that has been sent and not been used."""
    leaves = {
      f'{_SENT}/{number}/{place:05d}': np.asarray(leaf)
      for number, sent in self._sent.items()
      for place, leaf in enumerate(tf.nest.flatten(sent))
    }
    return {**self._events.saved(), **leaves}

  def resume(self, saved: Mapping[str, np.ndarray]) -> None:
    if not saved:
      return
    self._events.resume(saved)
    leaves: dict[int, list[np.ndarray]] = {}
    for name in sorted(name for name in saved if name.startswith(_SENT)):
      leaves.setdefault(int(name.split('/')[1]), []).append(saved[name])
    like = self._process.empty_sent()
    self._sent = {
      number: tf.nest.pack_sequence_as(like, leaves[number]) for number in sorted(leaves)
    }

  @contextlib.contextmanager
  def running(self) -> Iterator[None]:
    yield

  def step(
    self,
    number: int,
    state: Any,
    client_states: Optional[client_states_lib.ClientStates],
    seconds: float,
  ) -> driver.Step:
    del number, seconds  # The events count for themselves.

    def train(assignments: Sequence[scheduler.Assignment]) -> None:
      self._train(assignments, state, client_states)

    def upload_bytes(assignments: Sequence[scheduler.Assignment]) -> np.ndarray:
      known = self._process.sent_bytes_per_client
      if known is not None:
        return np.full(len(assignments), float(known))
      train(assignments)
      return np.array([self._sent_bytes(each) for each in assignments])

    events = self._events.step(upload_bytes)
    train([each for each in events.started if not each.fails and each.number not in self._sent])
    for each in (*events.discarded, *events.failed):
      self._sent.pop(each.number, None)
    return self._apply(self._plan(events), events.applied, state, client_states)

  def _train(
    self,
    assignments: Sequence[scheduler.Assignment],
    state: Any,
    client_states: Optional[client_states_lib.ClientStates],
  ) -> None:
    """Trains clients that have the present state of the server, and holds what they send."""
    if not assignments:
      return
    cohort = sorted(assignments, key=lambda each: each.client)
    data = self._data_of(
      cohort[0].version + 1,
      np.array([each.client for each in cohort]),
      np.array([each.epochs for each in cohort]),
    )
    sent = self._process.run_work(state, data, client_states)
    self._sent.update((each.number, own) for each, own in zip(cohort, sent, strict=True))

  def _sent_bytes(self, assignment: scheduler.Assignment) -> float:
    [_, num_bytes] = self._sent[assignment.number].result['facts']['costs']
    return float(num_bytes)

  def _plan(self, events: scheduler.Events) -> StepPlan:
    name = self._settings.staleness_weighting
    given = self._settings.hyperparameters_of('staleness')
    return StepPlan(
      selected=np.array(sorted(each.client for each in events.started), np.int64),
      uploading=np.array([each.client for each in events.applied], np.int64),
      epochs=np.array([each.epochs for each in events.applied]),
      stragglers=sum(each.straggles for each in events.started),
      dropouts=len(events.failed),
      staleness=events.staleness,
      factors=staleness.factors(name, given, events.staleness),
      discarded=len(events.discarded),
      concurrency=events.concurrency,
    )

  def _apply(
    self,
    plan: StepPlan,
    applied: Sequence[scheduler.Assignment],
    state: Any,
    client_states: Optional[client_states_lib.ClientStates],
  ) -> driver.Step:
    sent = [self._sent.pop(each.number) for each in applied]
    result = self._process.run_apply(
      state,
      runtime.stack_clients([each.result for each in sent]),
      plan.factors,
      [each.state for each in sent],
      client_states,
    )
    seconds = self._events.seconds
    return driver.Step(result.state, result.measured, plan, lambda _: seconds)


def _plan_of(trained: columns_lib.TrainedRound) -> StepPlan:
  return cast(StepPlan, trained.plan)


def _quantile(share: float) -> Callable[[columns_lib.TrainedRound], Optional[int]]:
  """The staleness that this share of the results do not exceed; none where there are none."""

  def of(trained: columns_lib.TrainedRound) -> Optional[int]:
    staleness_of = np.sort(_plan_of(trained).staleness)
    if not len(staleness_of):
      return None
    return int(staleness_of[math.ceil(share * len(staleness_of)) - 1])

  return of


COLUMNS: columns_lib.ByTrainedRound = {
  'staleness_median': _quantile(0.5),
  'staleness_p90': _quantile(0.9),
  'staleness_max': _quantile(1.0),
  'discarded': lambda trained: _plan_of(trained).discarded,
  'concurrency': lambda trained: _plan_of(trained).concurrency,
}
"""Columns of metrics.csv that synchronous runs do not have."""

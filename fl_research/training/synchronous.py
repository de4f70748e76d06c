"""Synchronous rounds: the server steps when its whole cohort has reported."""

from collections.abc import Iterator, Mapping, Sequence
import concurrent.futures
import contextlib
from typing import Any, Optional

import numpy as np

from fl_research.population import participation
from fl_research.round import process as process_lib
from fl_research.settings import Settings
from fl_research.training import client_states as client_states_lib
from fl_research.training import columns as columns_lib
from fl_research.training import driver
from fl_research.training.run_data import RunData


class Synchronous:
  """A `driver.Driver` of rounds; the next cohort's data are made while a round runs.

  Args:
    settings: what to do.
    process: the method.
    data: the data.
    plans: who takes part, and how.
  """

  def __init__(
    self,
    settings: Settings,
    process: process_lib.FederatedProcess,
    data: RunData,
    plans: participation.Participation,
  ):
    self._process = process
    self._plans = plans
    self._last_round = settings.total_rounds
    self._data_of = driver.cohort_data(settings, data)
    self._preparing: concurrent.futures.Executor
    self._upcoming: dict[int, concurrent.futures.Future] = {}

  def columns(self) -> columns_lib.ByTrainedRound:
    return {}

  def resume(self, saved: Mapping[str, np.ndarray]) -> None:
    """Nothing is carried from round to round."""

  def saved(self) -> Mapping[str, np.ndarray]:
    return {}

  @contextlib.contextmanager
  def running(self) -> Iterator[None]:
    with concurrent.futures.ThreadPoolExecutor(1, 'next cohort') as self._preparing:
      yield
    self._upcoming = {}

  def step(
    self,
    number: int,
    state: Any,
    client_states: Optional[client_states_lib.ClientStates],
    seconds: float,
  ) -> driver.Step:
    plan, clients = self._cohort_of(number, seconds)
    result = self._process.run_round(state, clients, client_states)

    def ends(trained: columns_lib.TrainedRound) -> float:
      return max(seconds, plan.begins) + trained.simulated_seconds(self._plans)

    return driver.Step(result.state, result.measured, plan, ends)

  def _cohort_of(self, number: int, seconds: float) -> tuple[participation.RoundPlan, Sequence]:
    """A round's plan and data; those of the next are then under way.

    But not where they depend on when this round ends.
    """
    if self._plans.readiness is not None:
      return self._cohort(number, seconds)
    plan, clients = self._prepared(number).result()
    if number < self._last_round:
      self._prepared(number + 1)
    del self._upcoming[number]
    return plan, clients

  def _prepared(self, round_num: int) -> concurrent.futures.Future:
    if round_num not in self._upcoming:
      self._upcoming[round_num] = self._preparing.submit(self._cohort, round_num, 0.0)
    return self._upcoming[round_num]

  def _cohort(self, round_num: int, seconds: float) -> tuple[participation.RoundPlan, Sequence]:
    """A round's plan and its clients' data."""
    plan = self._plans.plan(round_num, seconds)
    return plan, self._data_of(round_num, plan.uploading, plan.epochs)

"""What the training loop asks of whoever makes the server step.

There are two: synchronous rounds (`fl_research.training.synchronous`) and asynchronous steps
(`fl_research.training.asynchronous`). The loop evaluates, writes, saves and stops after each step,
and knows nothing of how it came about.
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
from typing import Any, NamedTuple, Optional, Protocol

import numpy as np

from fl_research import client_data, runtime
from fl_research.population.participation import RoundPlan
from fl_research.settings import Settings
from fl_research.training import client_states as client_states_lib
from fl_research.training import columns as columns_lib
from fl_research.training import run_data


class Step(NamedTuple):
  """One step of the server.

  Attributes:
    state: the new S.
    measured: M.
    plan: who took part, and how.
    seconds: when it is made, on the virtual clock, given what its clients report.
  """

  state: Any
  measured: Any
  plan: RoundPlan
  seconds: Callable[[columns_lib.TrainedRound], float]


class Driver(Protocol):
  """Makes the server step."""

  def columns(self) -> columns_lib.ByTrainedRound:
    """Columns of metrics.csv of its own."""

  def resume(self, saved: Mapping[str, np.ndarray]) -> None:
    """Goes back to where `saved` was called; to the start when it is empty."""

  def saved(self) -> Mapping[str, np.ndarray]:
    """What it needs, besides S and the clients' states, to go on after the last step."""

  def running(self) -> contextlib.AbstractContextManager[None]:
    """Within this it may be asked for steps."""

  def step(
    self,
    number: int,
    state: Any,
    client_states: Optional[client_states_lib.ClientStates],
    seconds: float,
  ) -> Step:
    """The step of a number, from 1, which follows on the one before or on `resume`.

    Args:
      number: of the step.
      state: S before it.
      client_states: where clients' states are read and written; None where they keep none.
      seconds: when the step before was made, on the virtual clock.
    """


class Elsewhere(Protocol):
  """Machines that keep the data on which a run trains."""

  def build(self, settings: Settings, process: Any, data: Any, plans: Any) -> tuple[Any, Any, Any]:
    """What makes the server step there, what evaluates, and what clients keep there.

    Args:
      settings: of the run.
      process: the method, in two halves.
      data: what is known of the data.
      plans: who takes part, and how.

    Returns:
      A `Driver`, a `ModelEvaluation`, and what checkpoints take for `ClientStates`.
    """

  def heed(self, interrupted: Callable[[], str]) -> None:
    """Where people there are waited for, stops when this gives a reason."""

  def release(self) -> None:
    """Tells them that the run is over, and asks nothing more of them."""

  def traffic(self) -> Mapping[str, Any]:
    """Bytes to and from each of them so far."""

  def close(self) -> None:
    """Ends the connection to them."""


CohortData = Callable[[int, np.ndarray, np.ndarray], Sequence]
"""(round, clients, epochs of each) -> what a computation takes as their D."""


def cohort_data(settings: Settings, data: run_data.RunData) -> CohortData:
  """How the D of clients are made, in the form their computation takes."""
  source = run_data.source(data)

  def of(round_num: int, clients: np.ndarray, epochs: np.ndarray) -> Sequence:
    cohort = client_data.cohort(
      source,
      clients,
      epochs,
      batch_size=settings.batch_size or client_data.FULL_BATCH,
      seed=settings.seed,
      round_num=round_num,
      max_examples=settings.max_examples_per_client or None,
    )
    return runtime.stack_clients(cohort)

  return of

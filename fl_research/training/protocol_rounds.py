"""Rounds whose secure sums are taken by the protocol."""

from collections.abc import Mapping
import contextlib
from typing import Any, Optional, TYPE_CHECKING

import numpy as np

from fl_research.training import client_states as client_states_lib
from fl_research.training import columns as columns_lib
from fl_research.training import driver

if TYPE_CHECKING:
  from fl_research.runtime import protocol_sums


class ProtocolRounds:
  """A `driver.Driver` that tells the protocol of each round, and says what its messages cost.

  Args:
    steps: who makes the server step.
    sums: who takes the secure sums.
  """

  def __init__(self, steps: driver.Driver, sums: 'protocol_sums.ProtocolSums'):
    self._steps, self._sums = steps, sums

  def columns(self) -> columns_lib.ByTrainedRound:
    return {
      **self._steps.columns(),
      'secure_aggregation/bytes_up': lambda trained: self._sums.bytes_up,
      'secure_aggregation/bytes_down': lambda trained: self._sums.bytes_down,
    }

  def resume(self, saved: Mapping[str, np.ndarray]) -> None:
    self._steps.resume(saved)

  def saved(self) -> Mapping[str, np.ndarray]:
    return self._steps.saved()

  def running(self) -> contextlib.AbstractContextManager[None]:
    return self._steps.running()

  def step(
    self,
    number: int,
    state: Any,
    client_states: Optional[client_states_lib.ClientStates],
    seconds: float,
  ) -> driver.Step:
    self._sums.begin(number)
    return self._steps.step(number, state, client_states, seconds)

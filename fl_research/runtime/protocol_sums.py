"""Secure sums by the protocol, all its parties in this process."""

from collections.abc import Mapping

import numpy as np

from fl_research import random_streams
from fl_research.registry import UsageError
from fl_research.secure_aggregation import parameters, session, thresholds


class ProtocolSums:
  """A `secure_sums.Summer` that holds a session of `fl_research.secure_aggregation` for each call.

  Neighbours and threshold are those of `thresholds.plan`. Nothing is secret here: the clients'
  secrets are drawn from the seed. The sums do not depend on them.

  Args:
    experiment: its name, by which sessions are told apart from others'.
    seed: the run's.

  Attributes:
    bytes_up: of the round so far: what the client has sent that has sent most.
    bytes_down: what the client was sent that was sent most.
  """

  def __init__(self, experiment: str, seed: int):
    self._experiment, self._seed = experiment, seed
    self.begin(0)

  def begin(self, round_num: int) -> None:
    """Has the sums that follow be those of a round."""
    self._round_num, self._number = round_num, 0
    self.bytes_up = self.bytes_down = 0

  def __call__(self, vectors: Mapping[int, np.ndarray], size: int, bits: int) -> np.ndarray:
    """The vectors' sum modulo 2^bits.

    Raises:
      UsageError: there are too few clients for the protocol to hide them.
    """
    number, self._number = self._number, self._number + 1
    outcome = session.run(
      self._parameters(len(vectors), size, bits, number),
      vectors,
      entropy=lambda client: (
        random_streams.generator(
          self._seed, 'secure aggregation', self._round_num, number, client
        ).bytes
      ),
    )
    self.bytes_up += max(outcome.bytes_up.values())
    self.bytes_down += max(outcome.bytes_down.values())
    return outcome.sum

  def _parameters(self, clients: int, size: int, bits: int, number: int) -> parameters.Parameters:
    try:
      plan = thresholds.plan(clients)
    except ValueError as error:
      raise UsageError(
        f'--secure_aggregation=protocol: {clients} clients take part in round {self._round_num}; '
        f'needed are {parameters.LEAST_CLIENTS} at least: raise --clients_per_round'
      ) from error
    return parameters.Parameters(
      parameters.session_of(f'{self._experiment}/{number}'),
      self._round_num,
      size,
      bits,
      plan.threshold,
      plan.degree,
    )

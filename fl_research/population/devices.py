"""A virtual clock: how long a round would take on real devices.

The model of Wang et al. 2021 ("A Field Guide to Federated Optimization", section 4.3): a client's
time is download + computation + upload, a round takes as long as the slowest client it waits for,

    T_k = bytes_down / D_k + s_k · examples visited + bytes_up / U_k,      T = max_k T_k.

Devices differ: s_k, D_k and U_k are the flags' values times exp(σ z), z normal, drawn once per
client from the run's seed (one draw for speed, one for the connection).

Differences from the paper:
1. The paper scales the time that the simulation itself took by a factor and adds a constant; here
   computation takes so long for each example visited, so that it does not depend on the machine.
2. How speeds are spread between devices is ours.
"""

import dataclasses
from typing import Protocol, Union

import numpy as np

from fl_research import random_streams

Numbers = Union[float, np.ndarray]


class Clock(Protocol):
  """What tells how long clients take."""

  def seconds(
    self,
    clients: np.ndarray,
    examples: np.ndarray,
    bytes_down: Numbers,
    bytes_up: Numbers,
    event: Union[int, np.ndarray] = 0,
  ) -> np.ndarray:
    """Time each of some clients takes for its part, in seconds: float64 [clients].

    Args:
      clients: positions.
      examples: examples each visits in training, epochs counted.
      bytes_down, bytes_up: what each receives and sends.
      event: tells apart what one client does several times: the round.
    """


@dataclasses.dataclass(frozen=True)
class Devices:
  """The clients' devices.

  Attributes:
    seconds_per_example: median time to visit one example in training.
    download_bytes_per_second, upload_bytes_per_second: median speeds of the connection.
    spread: σ ≥ 0, how much devices differ; 0 for identical ones.
    seed: the run's seed.
  """

  seconds_per_example: float
  download_bytes_per_second: float
  upload_bytes_per_second: float
  spread: float
  seed: int

  def seconds(
    self,
    clients: np.ndarray,
    examples: np.ndarray,
    bytes_down: Numbers,
    bytes_up: Numbers,
    event: Union[int, np.ndarray] = 0,
  ) -> np.ndarray:
    """Time each of some clients takes, whatever the event; see `Clock`."""
    del event
    factors = np.ones((len(clients), 2))
    if self.spread:
      draws = [
        random_streams.generator(self.seed, 'device', int(client)).normal(size=2)
        for client in clients
      ]
      factors = np.exp(self.spread * np.reshape(draws, (-1, 2)))
    computation, connection = factors.T
    transfer = bytes_down / self.download_bytes_per_second
    transfer = transfer + bytes_up / self.upload_bytes_per_second
    return self.seconds_per_example * examples * computation + transfer * connection

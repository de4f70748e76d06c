"""The virtual clock of real phones: measured scores and connections in place of a distribution.

As `fl_research.population.devices`, T_k = bytes_down / D + s_k · examples visited + bytes_up / U,
but a client is given a traced model of phone and a network user
(`fl_research.datasets.device_traces`), each as likely as any other, for the whole run. With AI
Benchmark's score c of its phone and the median c' of all traced models,

    s_k = s · c' / c,      s the time that a median phone takes for an example.

D and U are drawn for every transfer, in bytes per second (a measured kB counts 1,000): log-normal
with the user's measured mean μ and deviation σ, D = μ exp(τ z - τ² / 2), τ² = ln(1 + σ² / μ²), z
normal. With equal scores and σ = 0 it is the model of identical devices.

Differences from the paper:
1. Yang et al. 2021 map a phone to the nearest in score of three models whose time for a batch they
   measured, for their own networks. Here the score itself scales the time for an example of any
   model. It is a score of inference, which training need not follow exactly.
2. They draw speeds from a normal distribution, again while negative, which changes its mean and
   makes a transfer's mean time infinite; a log-normal one has the measured mean and deviation.
3. They draw a type for a phone whose model has no score; here only phones with one are drawn.
"""

import dataclasses
from typing import Union

import numpy as np

from fl_research import random_streams
from fl_research.datasets.device_traces import Phones
from fl_research.population.devices import Numbers


@dataclasses.dataclass(frozen=True)
class TracedDevices:
  """The clients' phones and connections.

  Attributes:
    seconds_per_example: time of the median phone for one example in training.
    phones: what was measured.
    seed: the run's seed.
  """

  seconds_per_example: float
  phones: Phones
  seed: int

  def slowness(self, clients: np.ndarray) -> np.ndarray:
    """How many times as long as the median phone each client's takes: float64 [clients]."""
    scores = self.phones.scores
    return np.median(scores) / scores[self._drawn('phone', clients, len(scores))]

  def speeds(self, clients: np.ndarray, event: Union[int, np.ndarray]) -> np.ndarray:
    """Bytes per second of each client's download and upload at an event: float64 [clients, 2]."""
    users = self._drawn('network user', clients, len(self.phones.speeds))
    mean, sigma = np.moveaxis(self.phones.speeds[users], -1, 0)
    draws = [
      random_streams.generator(self.seed, 'transfer', int(client), int(at)).normal(size=2)
      for client, at in zip(clients, np.broadcast_to(event, len(clients)))
    ]
    spread = np.sqrt(np.log1p((sigma / mean) ** 2))
    return mean * np.exp(spread * np.reshape(draws, (-1, 2)) - spread**2 / 2)

  def seconds(
    self,
    clients: np.ndarray,
    examples: np.ndarray,
    bytes_down: Numbers,
    bytes_up: Numbers,
    event: Union[int, np.ndarray] = 0,
  ) -> np.ndarray:
    """Time each of some clients takes; see `devices.Clock`."""
    download, upload = self.speeds(clients, event).T
    transfer = bytes_down / download + bytes_up / upload
    return self.seconds_per_example * examples * self.slowness(clients) + transfer

  def _drawn(self, purpose: str, clients: np.ndarray, count: int) -> np.ndarray:
    """One of `count` things for each client: int64 [clients]."""
    keys = [random_streams.key(self.seed, purpose, int(client)) for client in clients]
    return np.array([key % count for key in keys], np.int64)

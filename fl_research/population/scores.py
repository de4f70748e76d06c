"""What the server knows of each client from the rounds in which it has reported.

A row for each client of the population, so that whoever chooses among a million of them does so
with a few operations on arrays. It is a part of what a run saves, of which only the rows of clients
that have reported are kept.
"""

from collections.abc import Mapping
import dataclasses

import numpy as np

_COLUMNS = {
  'loss': (np.float64, np.inf),
  'squared_loss': (np.float64, np.inf),
  'examples': (np.int64, 0),
  'seconds': (np.float64, 0.0),
  'seen': (np.int64, 0),
  'times': (np.int64, 0),
}


@dataclasses.dataclass
class Scores:
  """The last report of each client; arrays [clients].

  Attributes:
    loss: mean loss while it trained; infinity before its first report.
    squared_loss: mean of its examples' squared losses; infinity where nobody asks for it.
    examples: how many examples it trained on.
    seconds: how long it took, on the virtual clock.
    seen: the round, from 1; 0 before its first report.
    times: how often it has reported.
  """

  loss: np.ndarray
  squared_loss: np.ndarray
  examples: np.ndarray
  seconds: np.ndarray
  seen: np.ndarray
  times: np.ndarray

  @classmethod
  def of(cls, num_clients: int) -> 'Scores':
    """Those of a population nobody of which has reported."""
    return cls(**{n: np.full(num_clients, v, dtype) for n, (dtype, v) in _COLUMNS.items()})

  def report(self, round_num: int, clients: np.ndarray, **columns: np.ndarray) -> None:
    """Notes what some clients have reported in a round; other columns stay.

    Args:
      round_num: the round.
      clients: their positions, each once.
      **columns: by attribute, an array [clients] each.
    """
    for name, values in columns.items():
      getattr(self, name)[clients] = values
    self.seen[clients] = round_num
    self.times[clients] += 1

  def saved(self) -> Mapping[str, np.ndarray]:
    """The rows of clients that have reported, and which these are."""
    clients = np.flatnonzero(self.seen)
    return {'clients': clients, **{name: getattr(self, name)[clients] for name in _COLUMNS}}

  def resume(self, saved: Mapping[str, np.ndarray]) -> None:
    """Goes back to where `saved` was called; to the start when it is empty."""
    for name, (_, nothing) in _COLUMNS.items():
      getattr(self, name)[:] = nothing
      if saved:
        getattr(self, name)[saved['clients']] = saved[name]

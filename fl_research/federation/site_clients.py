"""A site's clients at their positions in the population of all sites, as cohorts draw them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fl_research import client_data
from fl_research.datasets.federated_data import Clients, Examples


class Placed(Clients):
  """A site's clients, at their positions in the population of all sites."""

  def __init__(self, clients: Clients, positions: np.ndarray):
    self._clients = clients
    self._own = {int(position): own for own, position in enumerate(positions)}
    self._sizes = np.zeros(int(positions.max(initial=-1)) + 1, np.int64)
    self._sizes[positions] = clients.sizes

  @property
  def ids(self) -> Sequence[str]:
    raise NotImplementedError

  def __len__(self) -> int:
    return len(self._sizes)

  @property
  def sizes(self) -> np.ndarray:
    return self._sizes

  def examples(self, position: int) -> Examples:
    return self._clients.examples(self._own[int(position)])


class Source(client_data.Source):
  """A site's clients as cohorts are drawn from them.

  Args:
    clients: the site's clients.
    positions: theirs in the population of all sites.
  """

  def __init__(self, clients: Clients, positions: np.ndarray):
    super().__init__(Placed(clients, positions))
    self.bytes_of_example = client_data.Source(clients).bytes_of_example
    self._positions = positions

  def position(self, own: int) -> int:
    """The position in the population of the site's client of this number."""
    return int(self._positions[own])

  def outside_rounds(self, position: int, **facts: Any) -> client_data.ClientData:
    """A client's D for what it does outside all rounds, one epoch of its examples."""
    examples = self.clients.examples(position)
    return client_data.client_data(examples, epochs=1.0, client=position, round_num=0, **facts)

  def has(self, positions: np.ndarray) -> bool:
    """Whether all of these are this site's."""
    return positions.dtype == np.int64 and bool(np.isin(positions, self._positions).all())

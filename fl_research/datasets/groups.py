"""Clients in groups, of which each has the same examples in a way of its own."""

import abc

import numpy as np

from fl_research.datasets.federated_data import Clients, Examples


class Grouped(Clients):
  """Other clients, whose examples are changed by group.

  Args:
    clients: the clients.
    group_of: int [num_clients], the group of each.
  """

  def __init__(self, clients: Clients, group_of: np.ndarray):
    self._clients = clients
    self._group_of = group_of

  @property
  def ids(self):
    return self._clients.ids

  @property
  def sizes(self) -> np.ndarray:
    return self._clients.sizes

  def examples(self, position: int) -> Examples:
    group = int(self._group_of[position])
    return self.changed(self._clients.examples(position), group, position)

  @abc.abstractmethod
  def changed(self, examples: Examples, group: int, position: int) -> Examples:
    """A client's examples as its group has them."""

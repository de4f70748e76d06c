"""Clients that hold their pictures differently: the same labels, turned inputs.

With n rotations, n of 1, 2 or 4, the clients k with the same k mod n have their pictures turned by
as many times 360 / n degrees; the first group sees them as they are, so that n = 1 changes nothing.
Ghosh, Chung, Yin, Ramchandran 2020, "An Efficient Framework for Clustered Federated Learning",
section 6, make their clusters of MNIST and CIFAR in this way.
"""

import numpy as np

from fl_research.datasets.federated_data import Clients, Examples


class Rotated(Clients):
  """Other clients, each with its pictures turned.

  Args:
    clients: the clients, whose x are pictures [n, height, width, channels].
    quarter_turns: int [num_clients], by how many quarters each client's are turned.
  """

  def __init__(self, clients: Clients, quarter_turns: np.ndarray):
    self._clients = clients
    self._quarter_turns = quarter_turns

  @property
  def ids(self):
    return self._clients.ids

  @property
  def sizes(self) -> np.ndarray:
    return self._clients.sizes

  def examples(self, position: int) -> Examples:
    examples = self._clients.examples(position)
    turned = np.rot90(examples['x'], int(self._quarter_turns[position]), axes=(1, 2))
    return {**examples, 'x': np.ascontiguousarray(turned)}

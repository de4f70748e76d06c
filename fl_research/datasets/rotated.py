"""Clients that hold their pictures differently: the same labels, turned inputs.

With n rotations, n of 1, 2 or 4, the clients k with the same k mod n have their pictures turned by
as many times 360 / n degrees; the first group sees them as they are, so that n = 1 changes nothing.
Ghosh, Chung, Yin, Ramchandran 2020, "An Efficient Framework for Clustered Federated Learning",
section 6, make their clusters of MNIST and CIFAR in this way.
"""

import numpy as np

from fl_research.datasets.groups import Grouped


class Rotated(Grouped):
  """Clients whose pictures, x [n, height, width, channels], are turned by group.

  `group_of` is by how many quarters each client's are turned.
  """

  def changed(self, examples, group):
    turned = np.rot90(examples['x'], group, axes=(1, 2))
    return {**examples, 'x': np.ascontiguousarray(turned)}

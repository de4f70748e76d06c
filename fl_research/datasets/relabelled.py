"""Clients that name the labels differently: the same inputs, conflicting answers.

With n namings, the clients k with the same k mod n have one permutation of the labels in common;
the first naming is the data's own, so n = 1 changes nothing. No single model can serve clients of
different namings. Sattler, Müller, Samek 2021, "Clustered Federated Learning: Model-Agnostic
Distributed Multitask Optimization under Privacy Constraints", make clients of incongruent groups in
this way in their experiments.
"""

import numpy as np

from fl_research import random_streams
from fl_research.datasets.federated_data import Clients
from fl_research.datasets.groups import Grouped


def namings(count: int, num_classes: int, seed: int) -> np.ndarray:
  """What each naming calls each label: int32 [count, num_classes], rows drawn independently."""
  draws = [
    random_streams.generator(seed, 'label naming', naming).permutation(num_classes)
    for naming in range(1, count)
  ]
  return np.array([np.arange(num_classes), *draws], np.int32)


class Relabelled(Grouped):
  """Clients with the labels as one of the namings has them.

  Args:
    clients: the clients, whose y are class labels.
    naming_of: int [num_clients], which naming each of them has.
    names: as `namings` gives them.
  """

  def __init__(self, clients: Clients, naming_of: np.ndarray, names: np.ndarray):
    super().__init__(clients, naming_of)
    self._names = names

  def changed(self, examples, group, position):
    return {**examples, 'y': self._names[group][examples['y']]}

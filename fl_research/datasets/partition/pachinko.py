"""Pachinko: two-level Dirichlet allocation over coarse and fine labels, clients of equal size.

Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan 2021, "Adaptive Federated
Optimization", appendix on data sets, the split of CIFAR-100, after Li & McCallum 2006: client k
draws a distribution over the coarse labels from Dir(α), α = 0.1 there, and for every coarse label
one over its fine labels from Dir(10). Each of its examples picks a coarse label, then a fine one,
then an image, without replacement; a fine label that has run out is left out and its siblings'
probabilities are scaled up.

Differences from the paper:
1. Its 500 clients have 100 images each; sizes differ by at most one for other numbers here.
"""

import numpy as np

from fl_research.datasets.partition import dealing

_FINE_CONCENTRATION = 10.0


def assign(
  labels: np.ndarray,
  num_clients: int,
  generator: np.random.Generator,
  alpha: float,
  coarse_labels: np.ndarray,
) -> np.ndarray:
  """The owner of each example."""
  present, codes, totals = np.unique(labels, return_inverse=True, return_counts=True)
  coarse_of_label = np.empty(len(present), np.int64)
  coarse_of_label[codes] = np.unique(coarse_labels, return_inverse=True)[1]
  groups = [np.flatnonzero(coarse_of_label == c) for c in range(coarse_of_label.max() + 1)]
  remaining = totals.copy()
  counts = np.zeros((num_clients, len(present)), np.int64)
  for client, size in enumerate(dealing.even_sizes(len(labels), num_clients)):
    left_of_coarse = np.bincount(coarse_of_label, weights=remaining).astype(np.int64)
    of_coarse = generator.dirichlet(np.full(len(groups), alpha))
    drawn = dealing.draw(generator, size, of_coarse, left_of_coarse)
    for group, number in zip(groups, drawn):
      of_fine = generator.dirichlet(np.full(len(group), _FINE_CONCENTRATION))
      counts[client, group] = dealing.draw(generator, number, of_fine, remaining[group])
    remaining -= counts[client]
  return dealing.by_counts(codes, counts, generator)

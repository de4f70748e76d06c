"""Dirichlet: clients of equal size whose label distributions are drawn from a Dirichlet.

Hsu, Qi, Brown 2019, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
Classification", section 3: q_k ~ Dir(α p), p the labels' prior, and client k draws its share of
examples without replacement, a label that has run out being left out of q_k.

No client is ever empty: sizes differ by at most one. The last clients to draw take what is left, so
the skew of a few of them is smaller or greater than q_k's.

Differences from the paper:
1. p is scaled to sum to the number of labels N, so that with balanced labels q_k ~ Dir(α, ..., α),
   which is what most code means by α; where p sums to one, their α is N times ours.
"""

import numpy as np

from fl_research.datasets.partition import dealing


def assign(
  labels: np.ndarray, num_clients: int, generator: np.random.Generator, alpha: float
) -> np.ndarray:
  """The owner of each example."""
  present, codes, totals = np.unique(labels, return_inverse=True, return_counts=True)
  concentration = alpha * len(present) * totals / totals.sum()
  remaining = totals.copy()
  counts = np.zeros((num_clients, len(present)), np.int64)
  for client, size in enumerate(dealing.even_sizes(len(labels), num_clients)):
    counts[client] = dealing.draw(generator, size, generator.dirichlet(concentration), remaining)
    remaining -= counts[client]
  return dealing.by_counts(codes, counts, generator)

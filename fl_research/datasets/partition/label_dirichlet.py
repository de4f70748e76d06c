"""Label Dirichlet: each label is split over the clients in proportions drawn from a Dirichlet.

Li, Diao, Chen, He 2022, "Federated Learning on Non-IID Data Silos: An Experimental Study"
(NIID-Bench), section IV-A, "distribution-based label imbalance", after Yurochkin et al. 2019: for
every label, p ~ Dir(α, ..., α) over the clients. Sizes vary. As in NIID-Bench's code, a client that
already has its even share of the pool gets no more labels, and everything is drawn again until each
client has 10 examples.

Differences from the paper's code:
1. Half an even share is enough where that is less than 10 examples, but at least 1.
2. After 100 draws, which happens with many clients and a small α, the clients that are short take
   examples at random from whichever client has most.
"""

import numpy as np

from fl_research.datasets.partition import dealing

_ENOUGH_EXAMPLES = 10
_MOST_DRAWS = 100


def assign(
  labels: np.ndarray, num_clients: int, generator: np.random.Generator, alpha: float
) -> np.ndarray:
  """The owner of each example."""
  _, codes, totals = np.unique(labels, return_inverse=True, return_counts=True)
  enough = max(1, min(_ENOUGH_EXAMPLES, len(labels) // num_clients // 2))
  for _ in range(_MOST_DRAWS):
    counts = _draw_counts(totals, num_clients, generator, alpha)
    if counts.sum(axis=1).min() >= enough:
      break
  owners = dealing.by_counts(codes, counts, generator)
  return dealing.top_up(owners, num_clients, enough, generator)


def _draw_counts(
  totals: np.ndarray, num_clients: int, generator: np.random.Generator, alpha: float
) -> np.ndarray:
  """One draw: examples by client and label, int64 [num_clients, labels]."""
  counts = np.zeros((num_clients, len(totals)), np.int64)
  for label, total in enumerate(totals):
    open_clients = counts.sum(axis=1) < totals.sum() / num_clients
    shares = generator.dirichlet(np.full(num_clients, alpha)) * open_clients
    if not shares.sum() > 0:  # a small alpha: all the mass was on clients that are full
      shares = open_clients.astype(np.float64)
    cuts = (np.cumsum(shares / shares.sum()) * total).astype(np.int64)
    cuts[-1] = total
    counts[:, label] = np.diff(cuts, prepend=0)
  return counts

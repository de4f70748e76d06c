"""Labels: each client has examples of k labels only.

Li, Diao, Chen, He 2022, "Federated Learning on Non-IID Data Silos: An Experimental Study"
(NIID-Bench), section IV-A, "quantity-based label imbalance": client i has label i mod N and k - 1
others drawn at random; a label's examples are split evenly among the clients that have it.

Differences from the paper's code:
1. With fewer clients than labels, labels that nobody drew replace ones drawn by two clients or
   more, so that every example has an owner; NIID-Bench's code loses them.
2. A client left with nothing, because more clients than examples share its labels, takes one
   example at random from the client that has most.
"""

import numpy as np

from fl_research.datasets.partition import dealing
from fl_research.registry import UsageError


def assign(
  labels: np.ndarray, num_clients: int, generator: np.random.Generator, labels_per_client: int
) -> np.ndarray:
  """The owner of each example; `labels_per_client` is k.

  Raises:
    UsageError: k is above the number of labels, or all clients together cannot hold all labels.
  """
  present, codes = np.unique(labels, return_inverse=True)
  if labels_per_client > len(present) or num_clients * labels_per_client < len(present):
    raise UsageError(
      f'--partition_labels_per_client={labels_per_client}: {num_clients} clients need from '
      f'{-(-len(present) // num_clients)} to {len(present)} labels each to hold {len(present)}'
    )
  holds = _draw_label_sets(len(present), num_clients, generator, labels_per_client)
  counts = np.zeros(holds.shape, np.int64)
  for label, total in enumerate(np.bincount(codes)):
    holders = np.flatnonzero(holds[:, label])
    counts[holders, label] = dealing.even_sizes(total, len(holders))
  owners = dealing.by_counts(codes, counts, generator)
  return dealing.top_up(owners, num_clients, 1, generator)


def _draw_label_sets(
  num_labels: int, num_clients: int, generator: np.random.Generator, labels_per_client: int
) -> np.ndarray:
  """Which client has which label: bool [num_clients, num_labels], every label with a holder."""
  clients = np.arange(num_clients)
  keys = generator.random((num_clients, num_labels))
  keys[clients, clients % num_labels] = -1.0  # the client's own label comes first
  chosen = np.argsort(keys, axis=1)[:, :labels_per_client]
  holds = np.zeros((num_clients, num_labels), bool)
  np.put_along_axis(holds, chosen, True, axis=1)
  for label in np.flatnonzero(~holds.any(axis=0)):
    shared = holds & (holds.sum(axis=0) > 1)
    client, given_up = generator.choice(np.argwhere(shared))
    holds[client, given_up], holds[client, label] = False, True
  return holds

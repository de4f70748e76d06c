"""Feature noise: IID, with Gaussian noise on x that grows from client to client.

Li, Diao, Chen, He 2022, "Federated Learning on Non-IID Data Silos: An Experimental Study"
(NIID-Bench), section IV-B, "noise-based feature imbalance". Client k = 0 .. K - 1 adds

    N(0, (noise k / (K - 1))^2)

to every number of x.

Differences from the paper:
1. It writes noise k / K for the variance; its code does the above.
"""

import numpy as np

from fl_research import random_streams
from fl_research.datasets.federated_data import ContiguousClients
from fl_research.datasets.partition import iid


def assign(
  targets: np.ndarray, num_clients: int, generator: np.random.Generator, noise: float
) -> np.ndarray:
  """The owner of each example, which the noise has no part in."""
  del noise
  return iid.assign(targets, num_clients, generator)


def alter(clients: ContiguousClients, part: str, seed: int, noise: float) -> ContiguousClients:
  """The clients with noise on their x, drawn anew for each part."""
  arrays = dict(clients.pooled())
  noisy = np.empty_like(arrays['x'])
  first = 0
  for client, size in enumerate(clients.sizes):
    generator = random_streams.generator(seed, f'partition noise {part}', client)
    strength = noise * client / max(len(clients) - 1, 1)
    own = arrays['x'][first : first + size]
    noisy[first : first + size] = own + strength * generator.standard_normal(own.shape)
    first += size
  offsets = np.concatenate([[0], np.cumsum(clients.sizes)])
  return ContiguousClients({**arrays, 'x': noisy}, offsets, clients.ids)

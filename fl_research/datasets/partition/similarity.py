"""Similarity: a share of every client is IID, the rest comes from the pool sorted by label.

Karimireddy, Kale, Mohri, Reddi, Stich, Suresh 2020, "SCAFFOLD: Stochastic Controlled Averaging for
Federated Learning", section 7, "s % similarity". Clients have the same size n; round(s n) examples
of each are drawn at random from the pool, and what is left is sorted by label and cut into one
piece for every client, dealt out at random. s = 1 is IID; s = 0 is `shards` with one shard for each
client.

Differences from the paper:
1. It says nothing of ties; here examples of one label keep the pool's order.
"""

import numpy as np

from fl_research.datasets.partition import dealing


def assign(
  labels: np.ndarray, num_clients: int, generator: np.random.Generator, similarity: float
) -> np.ndarray:
  """The owner of each example; `similarity` is s."""
  sizes = dealing.even_sizes(len(labels), num_clients)
  drawn = np.round(similarity * sizes).astype(np.int64)
  order = generator.permutation(len(labels))
  owners = np.empty(len(labels), np.int64)
  owners[order[: drawn.sum()]] = np.repeat(np.arange(num_clients), drawn)
  rest = np.sort(order[drawn.sum() :])
  clients = generator.permutation(num_clients)
  by_label = rest[np.argsort(labels[rest], kind='stable')]
  owners[by_label] = np.repeat(clients, (sizes - drawn)[clients])
  return owners

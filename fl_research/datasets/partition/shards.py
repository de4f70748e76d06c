"""Shards: sorted by label and cut into shards of equal size, of which each client gets a few.

McMahan, Moore, Ramage, Hampson, Agüera y Arcas 2017, "Communication-Efficient Learning of Deep
Networks from Decentralized Data", section 3, the "pathological non-IID" split: MNIST in 200 shards
of 300 over 100 clients, so that most clients have two digits. Examples of one label keep the pool's
order.

Differences from the paper:
1. Shards need not be of equal size; where they cannot, the first ones have one example more.
"""

import numpy as np

from fl_research.datasets.partition import dealing
from fl_research.registry import UsageError


def assign(
  labels: np.ndarray, num_clients: int, generator: np.random.Generator, shards_per_client: int
) -> np.ndarray:
  """The owner of each example.

  Raises:
    UsageError: there are more shards than examples.
  """
  count = num_clients * shards_per_client
  if count > len(labels):
    raise UsageError(
      f'--partition_shards_per_client={shards_per_client}: {num_clients} clients of so many shards '
      f'need {count} examples, the data set has {len(labels)}'
    )
  owner_of_shard = dealing.by_sizes(np.full(num_clients, shards_per_client), generator)
  owners = np.empty(len(labels), np.int64)
  order = np.argsort(labels, kind='stable')
  owners[order] = np.repeat(owner_of_shard, dealing.even_sizes(len(labels), count))
  return owners

"""CIFAR-100 in TFF's own pachinko split: 500 training clients, 100 test clients, 100 images each.

Krizhevsky 2009; split by Reddi et al. 2021 ("Adaptive federated optimization"), published by TFF,
so that results can be set beside others' on the very same clients. (`cifar100` with
`--partition=pachinko` draws a new split of the same kind.)
"""

import numpy as np
import tensorflow_federated as tff

from fl_research.datasets import files, tff_bridge
from fl_research.datasets.federated_data import DatasetOptions, Examples, FederatedData, Problem

_FILE = 'cifar100.sqlite'


def load(options: DatasetOptions) -> FederatedData:
  """Loads the split: x float32 [32, 32, 3] in [0, 1] (bytes over 255), y int32 0..99.

  Test clients are other ones than those that train. The paper crops and standardises the images,
  which is not done here.

  Raises:
    UsageError: the file cannot be had, or is not such a database.
  """
  path = tff_bridge.fetch_database(options.data_dir, _FILE)
  sizes = [tff_bridge.database_sizes(path, split) for split in ('train', 'test')]
  parts = tff.simulation.datasets.cifar100.load_data(cache_dir=str(path.parent))
  train, test = (
    tff_bridge.from_client_data(part, _convert, size) for part, size in zip(parts, sizes)
  )
  return FederatedData(
    train,
    test.pooled(),
    Problem.CLASSIFICATION,
    100,
    test,
    {_FILE: files.sha256_of(path)},
  )


def _convert(raw) -> Examples:
  x = np.divide(raw['image'], 255, dtype=np.float32)
  return {'x': x, 'y': raw['label'].astype(np.int32)}

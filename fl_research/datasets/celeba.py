"""CelebA by celebrity: is the person on the photograph smiling?

Liu, Luo, Wang, Tang 2015 ("Deep learning face attributes in the wild"), by person as in LEAF
(Caldas et al. 2018) and as TFF publishes it: 9,343 celebrities with five photographs or more.
"""

import numpy as np
import tensorflow_federated as tff

from fl_research.datasets import files, tff_bridge
from fl_research.datasets.federated_data import DatasetOptions, Examples, FederatedData, Problem

_FILE = 'celeba.sqlite'
# 0.85 GB of images; the published test set has 22,831.
_MOST_TEST_EXAMPLES = 10_000


def load(options: DatasetOptions) -> FederatedData:
  """Loads CelebA: x float32 [84, 84, 3] in [0, 1] (bytes over 255), y int32 1 = smiling.

  The split is TFF's by examples: each celebrity has about 90 % of their photographs for training
  and the others for testing. The central test set is at most 10,000 of the latter, drawn by
  celebrity from the run's seed.

  Raises:
    UsageError: the file cannot be had, or is not such a database.
  """
  path = tff_bridge.fetch_database(options.data_dir, _FILE)
  names = ('split_by_examples_train', 'split_by_examples_test')
  sizes = [tff_bridge.database_sizes(path, name) for name in names]
  parts = tff.simulation.datasets.celeba.load_data(
    split_by_clients=False, cache_dir=str(path.parent)
  )
  train, test = (
    tff_bridge.from_client_data(part, _convert, size) for part, size in zip(parts, sizes)
  )
  return FederatedData(
    train,
    tff_bridge.central_test(test, _MOST_TEST_EXAMPLES, options.seed),
    Problem.BINARY,
    2,
    test,
    {_FILE: files.sha256_of(path)},
  )


def _convert(raw) -> Examples:
  x = np.divide(raw['image'], 255, dtype=np.float32, casting='same_kind')
  return {'x': x, 'y': raw['smiling'].astype(np.int32)}

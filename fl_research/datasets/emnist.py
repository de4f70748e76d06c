"""EMNIST by writer: 3,400 people's handwritten digits and letters, as TFF publishes it.

Caldas et al. 2018 ("LEAF: a benchmark for federated settings"), after Cohen et al. 2017; the data
set of Reddi et al. 2021's EMNIST tasks. Pixels are in [0, 1] with 1 the *background* and 0 the ink,
the reverse of MNIST, as those experiments train on them.
"""

import numpy as np
import tensorflow_federated as tff

from fl_research.datasets import files, tff_bridge
from fl_research.datasets.federated_data import DatasetOptions, Examples, FederatedData, Problem

_FILE = 'emnist_all.sqlite'
# All of the published test set (77,483 images, 240 MB).
_MOST_TEST_EXAMPLES = 100_000


def load(options: DatasetOptions, only_digits: bool = False) -> FederatedData:
  """Loads EMNIST: x float32 [28, 28, 1] in [0, 1], y int32.

  Labels 0..9 are digits, 10..35 capital letters, 36..61 small letters. Every writer has both
  training and test images.

  Args:
    options: where the file is, or goes.
    only_digits: leave out the letters (10 classes, 3,383 writers instead of 62 and 3,400).

  Raises:
    UsageError: the file cannot be had, or is not such a database.
  """
  path = tff_bridge.fetch_database(options.data_dir, _FILE)
  prefix = 'digits_only' if only_digits else 'all'
  sizes = [tff_bridge.database_sizes(path, f'{prefix}_{part}') for part in ('train', 'test')]
  parts = tff.simulation.datasets.emnist.load_data(only_digits, cache_dir=str(path.parent))
  train, test = (
    tff_bridge.from_client_data(part, _convert, size) for part, size in zip(parts, sizes)
  )
  return FederatedData(
    train,
    tff_bridge.central_test(test, _MOST_TEST_EXAMPLES, options.seed),
    Problem.CLASSIFICATION,
    10 if only_digits else 62,
    test,
    {_FILE: files.sha256_of(path)},
  )


def _convert(raw) -> Examples:
  return {'x': raw['pixels'][..., np.newaxis], 'y': raw['label']}

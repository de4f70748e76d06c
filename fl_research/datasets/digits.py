"""Handwritten digits embedded in scikit-learn: 1,797 images of 8x8, no download.

The test part of "Optical recognition of handwritten digits" (Alpaydin & Kaynak 1998, UCI), as
`sklearn.datasets.load_digits` has it.
"""

import importlib.resources

import numpy as np
import sklearn.datasets
import sklearn.model_selection

from fl_research.datasets import files
from fl_research.datasets.federated_data import DatasetOptions, PooledData, Problem

_TEST_EXAMPLES = 360


def load(options: DatasetOptions) -> PooledData:
  """Loads the digits: x float32 [8, 8, 1] in [0, 1] (grey levels 0..16 over 16), y int32 0..9.

  The set comes without a test set: 360 images, stratified by digit, are always the same test set
  whatever the run's seed, and 1,437 train.
  """
  digits = sklearn.datasets.load_digits()
  x = (digits.images[..., np.newaxis] / 16).astype(np.float32)
  y = digits.target.astype(np.int32)
  train, test = sklearn.model_selection.train_test_split(
    np.arange(len(y)), test_size=_TEST_EXAMPLES, stratify=y, random_state=0
  )
  source = importlib.resources.files('sklearn.datasets.data').joinpath('digits.csv.gz')
  return PooledData(
    {'x': x[train], 'y': y[train]},
    {'x': x[test], 'y': y[test]},
    Problem.CLASSIFICATION,
    10,
    {'digits.csv.gz': files.sha256_of(str(source))},
  )

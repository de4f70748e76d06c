"""MNIST with centred pixels."""

import numpy as np

from fl_research.datasets import mnist_centred
from fl_research.datasets.federated_data import PooledData, Problem


def test_centred_pixels():
  x = np.random.default_rng(0).random((3, 4, 4, 1)).astype(np.float32)
  examples = {'x': x, 'y': np.arange(3)}
  data = mnist_centred.centred(PooledData(examples, examples, Problem.CLASSIFICATION, 10))
  for part in (data.train, data.test):
    assert part['x'].dtype == np.float32
    np.testing.assert_array_equal(part['x'], x - 0.5)
    np.testing.assert_array_equal(part['y'], np.arange(3))

import numpy as np
import pandas as pd

from fl_research.datasets import features


def test_encode_table_uses_training_rows_only():
  table = pd.DataFrame(
    {'n': [1.0, 3.0, np.nan, 1000.0, np.nan], 'c': ['a', 'a', None, 'b', None]}
  ).fillna({'c': np.nan})
  train_rows = np.array([True, True, True, False, False])
  x = features.encode_table(table, train_rows, ['n'], {'c': ['a', 'b']})
  # Training numbers 1, 3 and the median 2: mean 2, deviation sqrt(2/3).
  deviation = np.sqrt(2 / 3)
  np.testing.assert_allclose(x[:, 0], np.array([-1, 1, 0, 998, 0]) / deviation, rtol=1e-6)
  np.testing.assert_array_equal(x[:, 1:], [[1, 0], [1, 0], [1, 0], [0, 1], [1, 0]])
  assert x.dtype == np.float32


def test_encode_table_gives_an_unlisted_category_zeros_and_an_empty_column_zero():
  table = pd.DataFrame({'n': [np.nan, np.nan], 'c': [1.0, 7.0]})
  x = features.encode_table(table, np.array([True, True]), ['n'], {'c': [1, 2]})
  np.testing.assert_array_equal(x, [[0, 1, 0], [0, 0, 0]])


def test_standardise_takes_statistics_of_training_rows_per_channel():
  values = np.array([[[0, 5]], [[4, 5]], [[100, 6]]], np.float32)
  scaled = features.standardise(values, np.array([True, True, False]), axes=(0, 1))
  np.testing.assert_allclose(scaled, [[[-1, 0]], [[1, 0]], [[49, 1]]])

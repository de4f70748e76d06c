"""Numbers from tables: imputation, standardisation and one-hot coding by training rows only."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd


def encode_table(
  table: pd.DataFrame,
  train_rows: np.ndarray,
  numeric: Sequence[str],
  categories: Mapping[str, Sequence],
) -> np.ndarray:
  """Feature vectors of a table's rows.

  Missing numbers become the column's median, missing categories its most frequent value, and
  numbers are shifted and scaled to mean 0 and standard deviation 1; median, most frequent value,
  mean and deviation are those of the training rows. A category outside its list is all zeros.

  Args:
    table: one row per example; missing values are NaN.
    train_rows: bool [n], the rows that statistics may be taken from.
    numeric: columns of numbers.
    categories: by name of each categorical column, the values that get a position, in order.

  Returns:
    float32 [n, d]: the numeric columns, then one position per listed category.
  """
  # scikit-learn takes a second to import; whoever lists data sets should not pay for it.
  from sklearn.compose import ColumnTransformer
  from sklearn.impute import SimpleImputer
  from sklearn.pipeline import make_pipeline
  from sklearn.preprocessing import OneHotEncoder, StandardScaler

  numbers = make_pipeline(
    SimpleImputer(strategy='median', keep_empty_features=True), StandardScaler()
  )
  steps = [('numeric', numbers, list(numeric))]
  for column, values in categories.items():
    one_hot = OneHotEncoder(
      categories=[np.asarray(values)], handle_unknown='ignore', sparse_output=False
    )
    steps.append(
      (column, make_pipeline(SimpleImputer(strategy='most_frequent'), one_hot), [column])
    )
  transformer = ColumnTransformer(steps).fit(table[train_rows])
  return np.asarray(transformer.transform(table), np.float32)


def standardise(values: np.ndarray, train_rows: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
  """Shifts and scales an array to mean 0 and standard deviation 1 over its training rows.

  Args:
    values: float [n, ...], one row per example.
    train_rows: bool [n].
    axes: axes over which one mean and one deviation are taken, e.g. `(0, 1)` of
      [windows, time, channel] for one of each per channel.

  Returns:
    float32, the shape of `values`; what is constant over the training rows becomes 0 there.
  """
  training = values[train_rows]
  mean = training.mean(axes, keepdims=True, dtype=np.float64).astype(np.float32)
  deviation = training.std(axes, keepdims=True, dtype=np.float64).astype(np.float32)
  return ((values - mean) / np.where(deviation > 0, deviation, 1)).astype(np.float32)

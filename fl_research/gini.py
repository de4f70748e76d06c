"""Gini's coefficient, the measure of inequality that data sets and results share."""

import numpy as np


def gini(values: np.ndarray) -> float:
  """Σᵢⱼ |xᵢ - xⱼ| / (2 n² x̄); 0 when all are equal, zeros too, and (n-1)/n when one has all.

  Args:
    values: float [n], none negative.

  Returns:
    The coefficient; NaN without values, or with a negative one.
  """
  x = np.sort(np.asarray(values, np.float64))
  if not len(x) or x[0] < 0:
    return np.nan
  total = x.sum()
  if total == 0:
    return 0.0
  n = len(x)
  return float((2 * np.arange(1, n + 1) - n - 1) @ x / (n * total))

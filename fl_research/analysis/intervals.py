"""Confidence intervals for the mean of a few numbers, such as results over seeds."""

import functools
from typing import NamedTuple

import numpy as np
from scipy import stats

RESAMPLES = 10_000
METHODS = ('t', 'bootstrap')


class Interval(NamedTuple):
  """From `low` to `high`; both NaN when there are fewer than two numbers."""

  low: float
  high: float

  def excludes(self, value: float) -> bool:
    """Whether a value lies outside; never so for an interval of NaN."""
    return value < self.low or value > self.high


_NONE = Interval(np.nan, np.nan)


def interval(
  values: np.ndarray, method: str = 't', confidence: float = 0.95, seed: int = 0
) -> Interval:
  """The interval of `t_interval` or `bootstrap_interval`, by name."""
  if method not in METHODS:
    raise ValueError(f'{method}: unknown; there are {", ".join(METHODS)}')
  if method == 't':
    return t_interval(values, confidence)
  return bootstrap_interval(values, confidence, seed)


def t_interval(values: np.ndarray, confidence: float = 0.95) -> Interval:
  """Student's interval for a mean: m ± t(n-1) · s / √n.

  Args:
    values: float [n]; exact where they are normal.
    confidence: the share of such intervals that hold the true mean, in (0, 1).
  """
  values = np.asarray(values, np.float64)
  if len(values) < 2:
    return _NONE
  half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * stats.sem(values)
  return Interval(values.mean() - half, values.mean() + half)


def bootstrap_interval(values: np.ndarray, confidence: float = 0.95, seed: int = 0) -> Interval:
  """The expanded percentile bootstrap interval for a mean.

  Resamples the n numbers `RESAMPLES` times and takes quantiles of the means. Plain percentiles are
  too narrow for few numbers: they lack the factor √(n/(n-1)) and the step from normal to t
  quantiles. Expanded ones (Hesterberg 2015, What Teachers Should Know about the Bootstrap, The
  American Statistician 69(4)) take the quantiles Φ(∓√(n/(n-1)) · t(n-1)) instead, which
  makes the interval right for normal data and keeps the bootstrap's answer to skewed ones. It never
  reaches beyond the smallest and largest of the numbers, so for n < 6 it is still too narrow.

  Args:
    values: float [n].
    confidence: as for `t_interval`.
    seed: of the resampling; the same seed gives the same interval.
  """
  values = np.asarray(values, np.float64)
  if len(values) < 2:
    return _NONE
  means = values[_resamples(len(values), seed)].mean(axis=1)
  tail = expanded_tail(len(values), confidence)
  low, high = np.quantile(means, [tail, 1 - tail])
  return Interval(float(low), float(high))


def expanded_tail(n: int, confidence: float) -> float:
  """Which quantile of the bootstrap's means, from either end, bounds the interval."""
  t = stats.t.ppf((1 + confidence) / 2, n - 1)
  return float(stats.norm.cdf(-np.sqrt(n / (n - 1)) * t))


@functools.lru_cache(maxsize=8)
def _resamples(n: int, seed: int) -> np.ndarray:
  """int [RESAMPLES, n]: which numbers each resample draws."""
  return np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))

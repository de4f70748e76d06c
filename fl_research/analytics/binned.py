"""Numbers in bins: the range of clients' numbers, and each client's counts."""

from collections.abc import Sequence
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.analytics.analysis import Setup
from fl_research.registry import UsageError

NUMBERS = tff.TensorType(np.float64, (None,))
"""A client's numbers."""


class Range(NamedTuple):
  """From where to where bins reach, low < high."""

  low: float
  high: float

  def edges(self, bins: int) -> np.ndarray:
    """Where bins of equal width begin and end, float64 [bins + 1]."""
    return np.linspace(self.low, self.high, bins + 1)


def given(name: str, setup: Setup, low: float, high: float) -> Range | None:
  """The range that flags give; None where it is to be found out.

  Args:
    name: the analysis, whose flags are `--<name>_low` and `--<name>_high`.
    setup: what the analysis was given.
    low, high: what they say; 0 and 0 for nothing.

  Raises:
    UsageError: it is empty, or may not be found out.
  """
  if low < high:
    return Range(low, high)
  if (low, high) != (0.0, 0.0):
    raise UsageError(f'--{name}_high={high:g}: accepted is a number above --{name}_low={low:g}')
  if setup.guarantee is not None or setup.sums.are_secure:
    raise UsageError(
      f'--{name}_low and --{name}_high: must be given with differential privacy or '
      '--secure_aggregation, which do not show the smallest and the largest number'
    )
  return None


def found(clients: Sequence[np.ndarray]) -> Range:
  """From the smallest number of all clients' to just above the largest."""
  low, high = (float(value) for value in _extremes(list(clients)))
  if not low <= high:
    raise UsageError('--column: the clients of this round have no numbers in it')
  return Range(low, math.nextafter(high, math.inf) if high > low else low + 1.0)


@tff.tensorflow.computation(NUMBERS)
def _smallest(numbers):
  return tf.reduce_min(numbers)  # infinite where there are none


@tff.tensorflow.computation(NUMBERS)
def _largest(numbers):
  return tf.reduce_max(numbers)


@tff.federated_computation(tff.FederatedType(NUMBERS, tff.CLIENTS))
def _extremes(clients):
  low = tff.federated_min(tff.federated_map(_smallest, clients))
  return low, tff.federated_max(tff.federated_map(_largest, clients))


def bins_of(numbers: tf.Tensor, reach: tf.Tensor, bins: int) -> tf.Tensor:
  """For each number its bin, int32 [n]: below 0 and from `bins` on where outside of the range.

  Args:
    numbers: float64 [n].
    reach: float64 [2], the range.
    bins: how many bins of equal width.
  """
  places = tf.floor((numbers - reach[0]) / (reach[1] - reach[0]) * bins)
  return tf.cast(tf.clip_by_value(places, -1.0, float(bins)), tf.int32)

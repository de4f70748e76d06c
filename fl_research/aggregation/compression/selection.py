"""Which entries of a vector are sent: a random subset, or the largest ones."""

import tensorflow as tf


def random_subset(count: int, chosen: int, seed: tf.Tensor) -> tf.Tensor:
  """A uniformly random subset of {0, …, count - 1}, without replacement: int32 [chosen], ascending.

  The `chosen` smallest of `count` random integers of 32 bits; of equal ones, the first.
  """
  if chosen == count:
    return tf.range(count, dtype=tf.int32)
  draws = tf.random.stateless_uniform([count], seed, None, None, tf.int32)
  return _smallest(draws, chosen)


def largest(values: tf.Tensor, chosen: int) -> tf.Tensor:
  """Where the entries of largest magnitude are: int32 [chosen], ascending; of equal ones the first.

  Args:
    values: float32 [n] without NaN.
    chosen: at most n.
  """
  # The bits of floats that are not negative are in the order of the floats.
  return _smallest(-tf.bitcast(tf.abs(values), tf.int32), chosen)


def _smallest(keys: tf.Tensor, chosen: int) -> tf.Tensor:
  """Positions of the smallest keys, in linear time rather than by sorting."""
  count = keys.shape[0]
  unique = tf.cast(keys, tf.int64) * count + tf.range(count, dtype=tf.int64)
  threshold = tf.raw_ops.NthElement(input=unique, n=chosen - 1)
  positions = tf.where(unique <= threshold)[:, 0]
  return tf.ensure_shape(tf.cast(positions, tf.int32), [chosen])


def scatter(values: tf.Tensor, positions: tf.Tensor, count: int) -> tf.Tensor:
  """A vector [count] with values [k] at distinct positions [k], and zeros elsewhere."""
  return tf.scatter_nd(positions[:, tf.newaxis], values, [count])

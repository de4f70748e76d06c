"""Coordinate-wise order statistics of stacked updates."""

import tensorflow as tf


def median(update: tf.Tensor) -> tf.Tensor:
  """The median of every coordinate over the clients: [n, ...] -> [...]."""
  count = tf.shape(update)[0]
  # Only the upper half has to be sorted: of its values in descending order the last is the one at
  # position n - 1 - floor(n / 2) from below, the last but one the next above it.
  upper, _ = tf.math.top_k(_clients_last(update), count // 2 + 1)
  lower_middle = (count - 1) % 2
  # Halves first: the sum of two large numbers may overflow.
  return 0.5 * upper[..., count // 2] + 0.5 * upper[..., count // 2 - lower_middle]


def trimmed_mean(update: tf.Tensor, trimmed: tf.Tensor) -> tf.Tensor:
  """The mean of every coordinate without its `trimmed` smallest and largest values.

  Args:
    update: [n, ...].
    trimmed: int32, below n / 2.

  Returns:
    [...].
  """
  count = tf.shape(update)[0]
  descending, _ = tf.math.top_k(_clients_last(update), count - trimmed)
  kept = descending[..., trimmed:]
  return tf.reduce_sum(kept / tf.cast(count - 2 * trimmed, kept.dtype), axis=-1)


def _clients_last(update: tf.Tensor) -> tf.Tensor:
  rank = update.shape.rank
  return tf.transpose(update, [*range(1, rank), 0])

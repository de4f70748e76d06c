"""Aggregators that must see every client's update at once, such as the median or Krum."""

import abc

import tensorflow as tf

Stacked = tuple[tf.Tensor, ...]
"""Clients' updates side by side: each tensor is [n, ...], row i being client i's."""


class StackedAggregator(abc.ABC):
  """A rule from all updates to one.

  The process stacks the updates at the server, sorts them by client, so that the order of arrival
  cannot matter, and leaves out clients whose weight is zero.
  """

  @abc.abstractmethod
  def combine(self, updates: Stacked, weights: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """The aggregate of n ≥ 1 updates, as TensorFlow code.

    Args:
      updates: [n, ...] tensors, one for each tensor of the model.
      weights: float32 [n], all positive.

    Returns:
      Tensors of the model's shapes.
    """

  def check_cohort(self, cohort_size: int) -> None:
    """Raises `UsageError` when cohorts of this size are too small for the rule's settings."""
    del cohort_size


def flatten(updates: Stacked) -> tf.Tensor:
  """The updates as rows of one matrix, float32 [n, d]."""
  rows = [tf.reshape(u, [tf.shape(u)[0], -1]) for u in updates]
  return tf.concat(rows, axis=1)


def unflatten(vector: tf.Tensor, updates: Stacked) -> tuple[tf.Tensor, ...]:
  """A vector [d] as tensors of the shapes of one client's update."""
  sizes = [u.shape[1:].num_elements() for u in updates]
  parts = tf.split(vector, sizes)
  return tuple(tf.reshape(part, u.shape[1:]) for part, u in zip(parts, updates))

"""Aggregators that must see every client's update at once, such as the median or Krum."""

import abc

import tensorflow as tf

Stacked = tuple[tf.Tensor, ...]
"""Clients' updates side by side: each tensor is [n, ...], row i being client i's."""

# Columns that are converted to float64 at a time: 100 clients take 50 MB of it.
_COLUMNS_AT_ONCE = 1 << 16


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


def weighted_sum(updates: Stacked, coefficients: tf.Tensor) -> tuple[tf.Tensor, ...]:
  """Σ_i c_i Δ_i for coefficients c, float32 [n].

  Each update is multiplied before the sum, so that a mean cannot overflow where its terms do not.
  """
  return tuple(tf.tensordot(coefficients, u, axes=1) for u in updates)


def gram(updates: Stacked) -> tf.Tensor:
  """Inner products of all pairs of updates, G_ij = <Δ_i, Δ_j>: float64 [n, n].

  In float64 squares of float32 numbers can neither overflow nor lose digits, which is what allows
  distances to be computed from G (see `squared_distances`) instead of from all pairs of rows: one
  matrix product in place of n² passes over the updates.
  """
  rows = [tf.reshape(u, [tf.shape(u)[0], u.shape[1:].num_elements()]) for u in updates]
  return tf.add_n([_gram_of_matrix(matrix) for matrix in rows])


def _gram_of_matrix(matrix: tf.Tensor) -> tf.Tensor:
  """M Mᵀ in float64, a block of columns at a time."""
  blocks = -(-matrix.shape[1] // _COLUMNS_AT_ONCE)

  def add_block(index, total):
    first = index * _COLUMNS_AT_ONCE
    block = tf.cast(matrix[:, first : first + _COLUMNS_AT_ONCE], tf.float64)
    return index + 1, total + tf.matmul(block, block, transpose_b=True)

  count = tf.shape(matrix)[0]
  _, total = tf.while_loop(
    lambda index, _: index < blocks,
    add_block,
    (tf.constant(0), tf.zeros([count, count], tf.float64)),
    parallel_iterations=1,
  )
  return total


def squared_distances(gram_matrix: tf.Tensor) -> tf.Tensor:
  """||Δ_i - Δ_j||² for all pairs, from their Gram matrix: float64 [n, n].

  The subtraction G_ii + G_jj - 2 G_ij leaves an error of about 1e-16 (||Δ_i||² + ||Δ_j||²), that
  is, distances are exact down to 1e-8 of the norms: float32 updates hold no smaller ones.
  """
  squares = tf.linalg.diag_part(gram_matrix)
  return tf.maximum(squares[:, tf.newaxis] + squares - 2.0 * gram_matrix, 0.0)

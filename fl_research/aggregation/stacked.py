"""Aggregators that must see every client's update at once, such as the median or Krum."""

from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from fl_research import hooks
from fl_research.aggregation import combiner, stacking
from fl_research.aggregation.combiner import Stacked

# Columns that are converted to float64 at a time: 100 clients take 50 MB of it.
_COLUMNS_AT_ONCE = 1 << 16


class StackedRule(combiner.Combiner):
  """A rule that must see every client's update at once.

  Updates are stacked at the server and sorted by client, so that the order of arrival cannot
  matter; clients whose weight is zero are left out. A rule overrides `combine`, or, when it has a
  memory, `initial_memory` and `next`.
  """

  kind = combiner.STACKED

  def combine(self, updates: Stacked, weights: tf.Tensor) -> combiner.Update:
    """The aggregate of n ≥ 1 updates, as TensorFlow code.

    Args:
      updates: [n, ...] tensors, one for each tensor of the update.
      weights: float32 [n], all positive.

    Returns:
      Tensors of the update's shapes.
    """
    raise NotImplementedError

  def initial_memory(self, zeros: combiner.Update) -> Any:
    """The rule's memory before the first round, by default none; `zeros` has an update's shapes."""
    del zeros
    return ()

  def next(
    self, memory: Any, updates: Stacked, weights: tf.Tensor, reference: combiner.Update
  ) -> tuple[combiner.Update, Any]:
    """The aggregate of n ≥ 1 updates, and the memory after it.

    Args:
      memory: what the rule remembers.
      updates, weights: as for `combine`.
      reference: with `needs_reference` the update from the server's own examples, else empty.
    """
    del reference
    return self.combine(updates, weights), memory

  def create(self, update_type):
    return self.create_seen(update_type, lambda updates, clients: updates)

  def create_seen(self, update_type, seen):
    specs = tf.nest.flatten(tff.types.type_to_tf_tensor_specs(update_type))
    shapes = [spec.shape for spec in specs]

    @tff.tensorflow.computation
    def initial_memory():
      return self.initial_memory(tuple(tf.zeros(spec.shape, spec.dtype) for spec in specs))

    @tff.federated_computation
    def initialize():
      return tff.federated_eval(initial_memory, tff.SERVER)

    def next_fn(memory, arrived, reference):
      stacked = stacking.stack_at_server(tff.federated_zip(arrived))
      types = [value.type_signature.member for value in (memory, stacked, reference)]

      @tff.tensorflow.computation(*types)
      def combine(memory, stacked, reference):
        return _combine_sorted(self, memory, stacked, tuple(reference), seen, shapes)

      combined, memory = tff.federated_map(combine, (memory, stacked, reference))
      nothing = tff.federated_value((), tff.SERVER)
      return tff.templates.MeasuredProcessOutput(memory, combined, nothing)

    return combiner.Combining(initialize, next_fn)


def _combine_sorted(rule: StackedRule, memory: Any, stacked: Any, reference, seen, shapes):
  """The rule on the updates of those that count, in the order of their clients."""
  order = tf.argsort(stacked['client'], stable=True)
  order = tf.boolean_mask(order, tf.gather(stacked['weight'], order) > 0.0)
  updates = tuple(tf.gather(update, order) for update in stacked['update'])
  weights = tf.gather(stacked['weight'], order)
  updates = seen(updates, tf.gather(stacked['client'], order))
  leaves = tf.nest.flatten(memory)

  def combine():
    combined, after = _checked_next(rule, memory, updates, weights, reference)
    return [*combined, *tf.nest.flatten(after)]

  def nothing():
    return [tf.zeros(shape) for shape in shapes] + [tf.identity(leaf) for leaf in leaves]

  results = tf.cond(tf.size(order) > 0, combine, nothing)
  combined, after = results[: len(shapes)], results[len(shapes) :]
  combined = [tf.ensure_shape(tensor, shape) for tensor, shape in zip(combined, shapes)]
  return combined, tf.nest.pack_sequence_as(memory, after)


def _checked_next(rule: StackedRule, memory: Any, updates: Stacked, weights: tf.Tensor, reference):
  """`rule.next`, whose mistakes name the rule."""
  place = hooks.where(rule, 'combine')
  with hooks.functional(place):
    combined, after = rule.next(memory, updates, weights, reference)
    combined = hooks.tensors(place, 'the combined update', combined)
    one = [update[0] for update in updates]
    hooks.require_like(place, 'the combined update', combined, one, 'as every update is')
    after = hooks.tensors(place, 'the memory', after)
    hooks.require_like(place, 'the memory', after, memory, 'as initial_memory gives it')
  return combined, after


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

"""Clients' updates as they are, side by side, for methods whose servers tell clients apart."""

import tensorflow as tf
import tensorflow_federated as tff

from fl_research.aggregation import combiner, stacking


class SideBySide(combiner.Combiner):
  """The updates of those that count, each tensor [n, ...], in the order of their clients.

  Which client a row is of is not among it: a method that has to know has its clients say so.
  """

  kind = combiner.STACKED
  uses_weights = False

  def combined_type(self, update_type):
    return stacking.stacked_type(update_type)

  def create(self, update_type):
    @tff.tensorflow.computation
    def no_memory():
      return ()

    @tff.federated_computation
    def initialize():
      return tff.federated_eval(no_memory, tff.SERVER)

    def next_fn(memory, arrived, further):
      del further
      stacked = stacking.stack_at_server(tff.federated_zip(arrived))
      rows = tff.tensorflow.computation(_in_order, stacked.type_signature.member)
      nothing = tff.federated_value((), tff.SERVER)
      return tff.templates.MeasuredProcessOutput(memory, tff.federated_map(rows, stacked), nothing)

    return combiner.Combining(initialize, next_fn)


def _in_order(stacked):
  """The rows of those whose weight is not zero, sorted by client."""
  order = tf.argsort(stacked['client'], stable=True)
  order = tf.boolean_mask(order, tf.gather(stacked['weight'], order) > 0.0)
  return [tf.gather(update, order) for update in stacked['update']]

"""Not combined at all: the server is given every client's update beside the others.

For methods whose server looks at updates one by one, to compare clients or to give each of them
something else.
"""

import collections
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.aggregation import combiner, stacking


class Beside(NamedTuple):
  """The updates of a round's n clients, in the order of their numbers.

  Attributes:
    update: structured like `Reply.update`, its tensors with one more axis in front, of n.
    weight: what each counts, float32 [n], all positive.
    client: which clients they are, int32 [n].
  """

  update: Any
  weight: tf.Tensor
  client: tf.Tensor


class SideBySide(combiner.Combiner):
  """Gives `Exchange.finish` a `Beside` as what is combined. Who does not count is left out."""

  kind = combiner.STACKED

  def combined_type(self, update_type):
    one = collections.OrderedDict(update=update_type, weight=np.float32, client=np.int32)
    return stacking.stacked_type(tff.to_type(one))

  def hand_over(self, combined, pack):
    return Beside(pack(combined['update']), combined['weight'], combined['client'])

  def create(self, update_type):
    return self.create_seen(update_type, lambda updates, clients: updates)

  def create_seen(self, update_type, seen):
    nothing = tff.federated_computation(lambda: tff.federated_value((), tff.SERVER))
    del update_type

    def next_fn(state, arrived, further):
      del further
      stacked = stacking.stack_at_server(tff.federated_zip(arrived))

      @tff.tensorflow.computation(stacked.type_signature.member)
      def in_order(stacked):
        order = tf.argsort(stacked['client'], stable=True)
        order = tf.boolean_mask(order, tf.gather(stacked['weight'], order) > 0.0)
        taken = tf.nest.map_structure(lambda rows: tf.gather(rows, order), stacked)
        updates = seen(tuple(taken['update']), taken['client'])
        return collections.OrderedDict(taken, update=list(updates))

      combined = tff.federated_map(in_order, stacked)
      return tff.templates.MeasuredProcessOutput(
        state, combined, tff.federated_value((), tff.SERVER)
      )

    return combiner.Combining(nothing, next_fn)

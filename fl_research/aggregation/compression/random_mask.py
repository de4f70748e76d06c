"""Structured updates on a random mask: a client trains, and sends, a random part of the weights.

Konečný, McMahan, Yu, Richtárik, Suresh, Bacon 2016, "Federated Learning: Strategies for Improving
Communication Efficiency", section 2. The update is a sparse matrix whose pattern is drawn afresh
for every client and round from a seed; entries outside it are never trained. The values inside it
and the seed are sent.

Of every tensor, vectors included, ceil(fraction · size) entries are trained, chosen uniformly
without replacement. fraction = 1 restricts nothing.

Differences from the paper:
1. The paper speaks of matrices; here vectors, such as biases, are masked too.
"""

import tensorflow as tf

from fl_research.aggregation.compression import selection
from fl_research.aggregation.compression import stage as stage_lib


class RandomMask(stage_lib.Stage):
  """Konečný et al. 2016, section 2, "random mask". Message: nothing but the values in the mask.

  Args:
    fraction: share of the entries in the mask, in (0, 1].
  """

  needs_seed = True

  def __init__(self, fraction: float):
    self._fraction = fraction

  def projection(self, shape, seed):
    inside = self._positions(shape, seed)
    ones = tf.ones_like(inside, tf.float32)
    mask = tf.reshape(selection.scatter(ones, inside, stage_lib.size(shape)), shape)
    return lambda step: step * mask

  def shape_after(self, shape):
    return (stage_lib.share(self._fraction, stage_lib.size(shape)),)

  def encode(self, tensor, seed):
    inside = self._positions(tuple(tensor.shape), seed)
    return stage_lib.Encoded((), tf.gather(tf.reshape(tensor, [-1]), inside))

  def decode(self, values, reader, shape, seed):
    inside = self._positions(shape, seed)
    return tf.reshape(selection.scatter(values, inside, stage_lib.size(shape)), shape)

  def _positions(self, shape: stage_lib.Shape, seed: tf.Tensor) -> tf.Tensor:
    (chosen,) = self.shape_after(shape)
    return selection.random_subset(stage_lib.size(shape), chosen, seed)


def build(fraction: float) -> stage_lib.Stage:
  """The registry's entry point."""
  return RandomMask(fraction)

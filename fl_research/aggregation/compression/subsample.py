"""Subsampling: of an update that was trained freely, a random part is sent.

Konečný, McMahan, Yu, Richtárik, Suresh, Bacon 2016, "Federated Learning: Strategies for Improving
Communication Efficiency", section 3, "subsampling". Each client sends a random subset of its
update's entries, drawn afresh for every client and round, scaled so that the average stays
unbiased: of the n entries of a tensor k = ceil(fraction · n), chosen uniformly without replacement
and multiplied by n/k; the others count as zero. The subset is sent as a seed.

E[decoded] = v and E‖decoded - v‖² = (n/k - 1) ‖v‖². fraction = 1 is the identity.

Differences from the paper:
1. None known: the paper leaves open how the subset is drawn and how its size is rounded.
"""

import tensorflow as tf

from fl_research.aggregation.compression import selection
from fl_research.aggregation.compression import stage as stage_lib


class Subsample(stage_lib.Stage):
  """Konečný et al. 2016, section 3 (see the module's docstring). Message: the values kept.

  Args:
    fraction: share of the entries sent, in (0, 1].
  """

  unbiased = True
  needs_seed = True

  def __init__(self, fraction: float):
    self._fraction = fraction

  def shape_after(self, shape):
    return (stage_lib.share(self._fraction, stage_lib.size(shape)),)

  def encode(self, tensor, seed):
    shape = tuple(tensor.shape)
    kept = tf.gather(tf.reshape(tensor, [-1]), self._positions(shape, seed))
    return stage_lib.Encoded((), kept * (stage_lib.size(shape) / self.shape_after(shape)[0]))

  def decode(self, values, reader, shape, seed):
    count = stage_lib.size(shape)
    return tf.reshape(selection.scatter(values, self._positions(shape, seed), count), shape)

  def _positions(self, shape: stage_lib.Shape, seed: tf.Tensor) -> tf.Tensor:
    (chosen,) = self.shape_after(shape)
    return selection.random_subset(stage_lib.size(shape), chosen, seed)


def build(fraction: float) -> stage_lib.Stage:
  """The registry's entry point."""
  return Subsample(fraction)

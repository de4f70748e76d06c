"""A random rotation before quantisation.

Konečný, McMahan, Yu, Richtárik, Suresh, Bacon 2016, "Federated Learning: Strategies for Improving
Communication Efficiency", section 3, "improving the quantization by structured random rotations".
Quantisation errs in proportion to the range of the numbers; a random rotation spreads every number
over all of them, which cuts the range, and for n numbers the error, by O(n / log n) (Suresh et al.
2017). The rotation is a Walsh-Hadamard matrix times a random ±1 diagonal; the server undoes it
before averaging, and knows it from a seed.

By itself it loses nothing, and sends a little more: see `hadamard.layout` for the padding.

Differences from the paper:
1. Numbers are padded to blocks whose lengths are powers of two (`hadamard.layout`); in the papers
   always to one power of two, which can nearly double what is sent.
"""

import tensorflow as tf

from fl_research.aggregation.compression import hadamard
from fl_research.aggregation.compression import stage as stage_lib


class Rotation(stage_lib.Stage):
  """Konečný et al. 2016, section 3 (see the module's docstring). Message: the rotated numbers."""

  unbiased = True
  needs_seed = True

  def shape_after(self, shape):
    blocks, block = hadamard.layout(stage_lib.size(shape))
    return (blocks * block,)

  def encode(self, tensor, seed):
    rows = hadamard.rotate(tf.reshape(tensor, [-1]), seed)
    return stage_lib.Encoded((), tf.reshape(rows, [-1]))

  def decode(self, values, reader, shape, seed):
    count = stage_lib.size(shape)
    rows = tf.reshape(values, hadamard.layout(count))
    return tf.reshape(hadamard.rotate_back(rows, seed, count), shape)


def build() -> stage_lib.Stage:
  """The registry's entry point."""
  return Rotation()

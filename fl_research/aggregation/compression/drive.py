"""DRIVE: a random rotation, one bit per number, and one scale.

Vargaftik, Ben-Basat, Portnoy, Mendelson, Ben-Itzhak, Mitzenmacher 2021, "DRIVE: One-bit Distributed
Mean Estimation", algorithm 1 with the random Hadamard rotation. A client sends the signs of the
rotated vector R x and the scale S = ‖R x‖² / ‖R x‖₁; the server decodes R⁻¹ (S sgn(R x)).

This is the paper's scale for averages over clients: unbiased for uniformly random rotations, and
nearly so for random Hadamard rotations of large vectors. The paper's other scale, ‖R x‖₁ / n, has
the least error for a single vector, but is biased. As n grows E‖decoded - x‖² / ‖x‖² tends to
π/2 - 1.

Each block of the rotation has a scale of its own, since the argument is about one rotation; there
is one block where n is a power of two (see `hadamard.layout`). A tensor takes 4 bytes per block,
and a bit per number.

Differences from the paper:
1. Each block of the rotation has a scale of its own, where the paper pads to one power of two.
2. Each tensor of a model is a vector of its own.
"""

import tensorflow as tf

from fl_research.aggregation.compression import hadamard, wire
from fl_research.aggregation.compression import stage as stage_lib


class Drive(stage_lib.Stage):
  """Vargaftik et al. 2021, algorithm 1 (see the module's docstring). Message: scales, signs.

  It counts as biased, since Hadamard rotations are not uniformly random ones.
  """

  needs_seed = True

  def shape_after(self, shape):
    del shape
    return stage_lib.NOTHING

  def encode(self, tensor, seed):
    rows = hadamard.rotate(tf.reshape(tensor, [-1]), seed)
    largest = tf.reduce_max(tf.abs(rows), axis=1, keepdims=True)
    # Squares of large numbers would overflow.
    parts = tf.math.divide_no_nan(tf.abs(rows), largest)
    ratio = tf.math.divide_no_nan(tf.reduce_sum(tf.square(parts), 1), tf.reduce_sum(parts, 1))
    scales = largest[:, 0] * ratio
    signs = wire.pack_bits(tf.reshape(tf.cast(rows >= 0.0, tf.uint8), [-1]))
    return stage_lib.Encoded((wire.to_bytes(scales), signs), stage_lib.no_values())

  def decode(self, values, reader, shape, seed):
    count = stage_lib.size(shape)
    blocks, block = hadamard.layout(count)
    scales = reader.float32(blocks, 1)
    positive = tf.reshape(reader.codes(blocks * block, 1), [blocks, block]) > 0
    rows = tf.where(positive, scales, -scales)
    return tf.reshape(hadamard.rotate_back(rows, seed, count), shape)


def build() -> stage_lib.Stage:
  """The registry's entry point."""
  return Drive()

"""Top-k sparsification, whose error a client remembers and sends later.

Stich, Cordonnier, Jaggi 2018, "Sparsified SGD with Memory", algorithm 1; the memory goes back to
Seide, Fu, Droppo, Li, Yu 2014, "1-Bit Stochastic Gradient Descent and its Application to
Data-Parallel Distributed Training of Speech DNNs". Of update plus memory the k entries of largest
magnitude are sent; the others are the next memory (see `staged`, which keeps it for any chain).

    ‖top_k(v) - v‖² ≤ (1 - k/n) ‖v‖².

Of each tensor's n entries k = ceil(fraction · n) are sent, of equal magnitudes the first.
fraction = 1 is the identity. Besides its values a tensor takes its positions: k codes of
ceil(log2 n) bits, or a map of n bits where that is shorter.

Differences from the paper:
1. The paper takes the largest entries of the whole vector; here k = ceil(fraction · n) are taken of
   each tensor's n, so that small layers are heard too.
2. It compresses gradients times the rate, of workers that take part in every step; here updates of
   local training, of clients whose memory waits until they are drawn again.
"""

import tensorflow as tf

from fl_research.aggregation.compression import selection, wire
from fl_research.aggregation.compression import stage as stage_lib


class TopK(stage_lib.Stage):
  """Stich et al. 2018, algorithm 1 (see the module's docstring). Message: positions.

  Args:
    fraction: share of the entries sent, in (0, 1].
  """

  def __init__(self, fraction: float):
    self._fraction = fraction

  def shape_after(self, shape):
    return (stage_lib.share(self._fraction, stage_lib.size(shape)),)

  def encode(self, tensor, seed):
    values = tf.reshape(tensor, [-1])
    count, (chosen,) = values.shape[0], self.shape_after(values.shape)
    positions = selection.largest(values, chosen)
    if _uses_map(count, chosen):
      message = wire.pack_bits(selection.scatter(tf.ones_like(positions), positions, count))
    else:
      message = wire.pack_codes(positions, _width(count))
    return stage_lib.Encoded((message,), tf.gather(values, positions))

  def decode(self, values, reader, shape, seed):
    count, chosen = stage_lib.size(shape), values.shape[0]
    if _uses_map(count, chosen):
      inside = tf.where(reader.codes(count, 1) > 0)[:, 0]
      positions = tf.ensure_shape(tf.cast(inside, tf.int32), [chosen])
    else:
      positions = reader.codes(chosen, _width(count))
    return tf.reshape(selection.scatter(values, positions, count), shape)


def _width(count: int) -> int:
  """Bits of a position in a vector of `count` entries."""
  return (count - 1).bit_length()


def _uses_map(count: int, chosen: int) -> bool:
  return count <= chosen * _width(count)


def build(fraction: float) -> stage_lib.Stage:
  """The registry's entry point."""
  return TopK(fraction)

"""QSGD: random rounding to parts of the norm, in an Elias code.

Alistarh, Grubic, Li, Tomioka, Vojnović 2017, "QSGD: Communication-Efficient SGD via Gradient
Quantization and Encoding", section 3. An entry v_i of a tensor v becomes ‖v‖ sgn(v_i) ξ_i / s,
where ξ_i is |v_i| s / ‖v‖ rounded at random to an integer above or below it, unbiased;

    E‖Q_s(v) - v‖² ≤ min(n / s², √n / s) ‖v‖²,    E‖Q_s(v)‖_0 ≤ s (s + √n).

As in the paper's Code_s only entries that are not zero are sent: the norm, then for each entry the
distance from the one before, its sign and its level ξ_i, integers in an Elias code. A tensor takes
8 bytes (norm, length) and the bytes of three streams: prefixes, lower bits, signs.

Differences from the paper:
1. The paper quantises vectors as a whole, its experiments in buckets; here each tensor of the model
   is a vector.
2. The paper uses Elias's recursive (ω) code, here it is his γ code (see `elias`), which is shorter
   for integers below 64 and otherwise longer, by 2 bits at 1,000.
3. It quantises gradients; here whatever updates the clients send.
"""

import tensorflow as tf

from fl_research.aggregation.compression import elias, selection, wire
from fl_research.aggregation.compression import stage as stage_lib


class Qsgd(stage_lib.Stage):
  """Alistarh et al. 2017, section 3 (see the module's docstring). Message: the coded tensor.

  Args:
    levels: s ≥ 1.
  """

  unbiased = True

  def __init__(self, levels: int):
    self._levels = levels

  def shape_after(self, shape):
    del shape
    return stage_lib.NOTHING

  def encode(self, tensor, seed):
    values = tf.reshape(tensor, [-1])
    largest = tf.reduce_max(tf.abs(values))
    # Squares of large numbers would overflow.
    norm = largest * tf.norm(tf.math.divide_no_nan(values, largest))
    place = tf.math.divide_no_nan(tf.abs(values), norm) * self._levels
    below = tf.floor(place)
    draws = tf.random.stateless_uniform(tf.shape(values), seed)
    levels = tf.cast(below, tf.int32) + tf.cast(draws < place - below, tf.int32)
    positions = tf.cast(tf.where(levels > 0)[:, 0], tf.int32)
    distances = positions - tf.concat([tf.constant([-1]), positions], axis=0)[:-1]
    pairs = tf.stack([distances, tf.gather(levels, positions)], axis=1)
    signs = wire.pack_bits(tf.cast(tf.gather(values, positions) < 0.0, tf.uint8))
    message = (wire.to_bytes(norm), *elias.encode(tf.reshape(pairs, [-1])), signs)
    return stage_lib.Encoded(message, stage_lib.no_values())

  def decode(self, values, reader, shape, seed):
    norm = reader.float32()
    distances, levels = tf.unstack(tf.reshape(elias.decode(reader), [-1, 2]), axis=1)
    sent = tf.size(levels)
    negative = wire.unpack_bits(reader.take((sent + 7) // 8))[:sent]
    magnitudes = norm * tf.cast(levels, tf.float32) / self._levels
    entries = tf.where(negative > 0, -magnitudes, magnitudes)
    positions = tf.cumsum(distances) - 1
    return tf.reshape(selection.scatter(entries, positions, stage_lib.size(shape)), shape)


def build(levels: int) -> stage_lib.Stage:
  """The registry's entry point."""
  return Qsgd(levels)

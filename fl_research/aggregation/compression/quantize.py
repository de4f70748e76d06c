"""Probabilistic quantisation to b bits per number.

Konečný, McMahan, Yu, Richtárik, Suresh, Bacon 2016, "Federated Learning: Strategies for Improving
Communication Efficiency", section 3. With one bit an entry v of a tensor becomes its maximum with
probability (v - min) / (max - min), else its minimum; with b bits the range is divided and each
entry is rounded in the same way to one of the two ends of its interval. Unbiased.

With Δ = (max - min) / (2^b - 1) the error of an entry is below Δ and its variance at most Δ²/4.
Entries that are all the same are exact. A tensor of n entries takes 8 + ceil(n b / 8) bytes: its
minimum and maximum, and the codes.

Differences from the paper:
1. The paper divides the range into 2^b intervals, which have 2^b + 1 ends: more than b bits can
   name, and with b = 1 not its own 1-bit rule. Here there are 2^b levels, so 2^b - 1 intervals, as
   in Suresh, Yu, Kumar, McMahan 2017, "Distributed Mean Estimation with Limited Communication",
   section 2.2; b = 1 is the 1-bit rule.
"""

import tensorflow as tf

from fl_research.aggregation.compression import stage as stage_lib
from fl_research.aggregation.compression import wire


class Quantize(stage_lib.Stage):
  """Konečný et al. 2016, section 3 (see the module's docstring). Message: min, max, codes.

  Args:
    bits: b, in [1, 16].
  """

  unbiased = True

  def __init__(self, bits: int):
    self._bits = bits

  def shape_after(self, shape):
    del shape
    return stage_lib.NOTHING

  def encode(self, tensor, seed):
    values = tf.reshape(tensor, [-1])
    low, high = tf.reduce_min(values), tf.reduce_max(values)
    place = tf.math.divide_no_nan(values - low, self._step(low, high))
    below = tf.floor(place)
    draws = tf.random.stateless_uniform(tf.shape(values), seed)
    codes = tf.cast(below, tf.int32) + tf.cast(draws < place - below, tf.int32)
    codes = tf.minimum(codes, 2**self._bits - 1)
    message = (wire.to_bytes(tf.stack([low, high])), wire.pack_codes(codes, self._bits))
    return stage_lib.Encoded(message, stage_lib.no_values())

  def decode(self, values, reader, shape, seed):
    low, high = tf.unstack(reader.float32(2))
    codes = reader.codes(stage_lib.size(shape), self._bits)
    return tf.reshape(low + tf.cast(codes, tf.float32) * self._step(low, high), shape)

  def _step(self, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
    return (high - low) / (2**self._bits - 1)


def build(bits: int) -> stage_lib.Stage:
  """The registry's entry point."""
  return Quantize(bits)

"""Elias's γ code for positive integers, encoded and decoded without a loop over the integers.

Elias 1975, "Universal codeword sets and representations of the integers": x ≥ 1 with
N = floor(log2 x) is N zeros, a one, and the N bits of x below its highest: 2N + 1 bits. All the
zeros-and-ones come first here and all the lower bits after them, which takes the same number of
bits, and lets a decoder find every N at once.
"""

import tensorflow as tf

from fl_research.aggregation.compression import wire


def encode(numbers: tf.Tensor) -> list[wire.Bytes]:
  """The message of int32 [m], each at least 1: 4 bytes of length, prefixes, lower bits."""
  widths = _log2(numbers)
  ends = tf.cumsum(widths + 1)
  ones = tf.ones_like(numbers)
  total = tf.reduce_sum(widths + 1)
  prefixes = wire.pack_bits(tf.scatter_nd(ends[:, tf.newaxis] - 1, ones, [total]))
  owner, place = _lower_bits(widths)
  bits = tf.bitwise.right_shift(tf.gather(numbers, owner), place)
  lower = wire.pack_bits(tf.bitwise.bitwise_and(bits, 1))
  return [wire.to_bytes(tf.size(prefixes)), prefixes, lower]


def decode(reader: wire.Reader) -> tf.Tensor:
  """The integers of a message, int32 [m]."""
  length = reader.int32()
  ends = tf.cast(tf.where(wire.unpack_bits(reader.take(length)) > 0)[:, 0], tf.int32)
  widths = ends - tf.concat([tf.constant([-1]), ends], axis=0)[:-1] - 1
  owner, place = _lower_bits(widths)
  bits = wire.unpack_bits(reader.take((tf.size(owner) + 7) // 8))[: tf.size(owner)]
  lower = tf.bitwise.left_shift(bits, place)
  highest = tf.bitwise.left_shift(tf.ones_like(widths), widths)
  return highest + tf.math.unsorted_segment_sum(lower, owner, tf.size(widths))


def _log2(numbers: tf.Tensor) -> tf.Tensor:
  """floor(log2 x), exactly: the exponent of x as a float64."""
  bits = tf.bitcast(tf.cast(numbers, tf.float64), tf.int64)
  return tf.cast(tf.bitwise.right_shift(bits, 52) - 1023, tf.int32)


def _lower_bits(widths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """For each lower bit: whose it is, and its place value's exponent; highest bits first."""
  owner = tf.repeat(tf.range(tf.size(widths)), widths)
  ends = tf.cumsum(widths)
  return owner, tf.gather(ends, owner) - 1 - tf.range(tf.size(owner))

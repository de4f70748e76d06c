"""Numbers to bytes and back, as TensorFlow code: what really crosses the wire.

A message is a uint8 vector. Numbers of 32 bits are in the machine's byte order (little-endian on
every platform that TensorFlow Federated is published for); bits fill bytes from the lowest up.
"""

from collections.abc import Iterable
from typing import TypeAlias

import tensorflow as tf

Bytes: TypeAlias = tf.Tensor
"""uint8 [?]."""


def join(messages: Iterable[Bytes]) -> Bytes:
  """Messages one after the other."""
  return tf.concat([tf.zeros([0], tf.uint8), *messages], axis=0)


def to_bytes(numbers: tf.Tensor) -> Bytes:
  """float32 or int32 numbers of any shape: 4 bytes each."""
  return tf.reshape(tf.bitcast(numbers, tf.uint8), [-1])


def num_packed(count: int, width: int = 1) -> int:
  """Bytes that `count` codes of `width` bits take."""
  return -(-count * width // 8)


def pack_bits(bits: tf.Tensor) -> Bytes:
  """Zeros and ones [n] of any integer type, eight to a byte; the last byte is filled with zeros."""
  bits = tf.cast(bits, tf.uint8)
  padded = tf.pad(bits, [[0, -tf.size(bits) % 8]])
  place = tf.constant([1, 2, 4, 8, 16, 32, 64, 128], tf.uint8)
  return tf.reduce_sum(tf.reshape(padded, [-1, 8]) * place, axis=1)


def unpack_bits(message: Bytes) -> tf.Tensor:
  """The zeros and ones of a message, int32 [8 times its length]."""
  places = tf.range(8, dtype=tf.int32)
  bits = tf.bitwise.right_shift(tf.cast(message, tf.int32)[:, tf.newaxis], places)
  return tf.reshape(tf.bitwise.bitwise_and(bits, 1), [-1])


def pack_codes(codes: tf.Tensor, width: int) -> Bytes:
  """Codes [n], int32 in [0, 2^width), `width` bits each: ceil(n width / 8) bytes."""
  bits = tf.bitwise.right_shift(codes[:, tf.newaxis], tf.range(width, dtype=tf.int32))
  return pack_bits(tf.reshape(tf.bitwise.bitwise_and(bits, 1), [-1]))


def unpack_codes(message: Bytes, count: int, width: int) -> tf.Tensor:
  """The inverse of `pack_codes`: int32 [count]."""
  bits = tf.reshape(unpack_bits(message)[: count * width], [count, width])
  return tf.reduce_sum(tf.bitwise.left_shift(bits, tf.range(width, dtype=tf.int32)), axis=1)


class Reader:
  """Takes a message apart from its beginning.

  It lives while a graph is built and holds nothing but where the next part begins; how long a part
  is may depend on what was read before.
  """

  def __init__(self, message: Bytes):
    self._message = message
    self._offset = 0

  def take(self, count) -> Bytes:
    """The next `count` bytes; `count` is a number or an int32 tensor."""
    part = self._message[self._offset : self._offset + count]
    self._offset = self._offset + count
    return part

  def float32(self, *shape: int) -> tf.Tensor:
    """The next numbers, as a tensor of that shape."""
    return self._numbers(tf.float32, shape)

  def int32(self, *shape: int) -> tf.Tensor:
    """The next integers, as a tensor of that shape."""
    return self._numbers(tf.int32, shape)

  def codes(self, count: int, width: int) -> tf.Tensor:
    """The next `count` codes of `width` bits, int32 [count]."""
    return unpack_codes(self.take(num_packed(count, width)), count, width)

  def _numbers(self, dtype: tf.DType, shape: tuple[int, ...]) -> tf.Tensor:
    count = 1
    for size in shape:
      count *= size
    return tf.reshape(tf.bitcast(tf.reshape(self.take(4 * count), [count, 4]), dtype), shape)

"""Numbers to bytes and back, as many bytes as are said."""

import numpy as np
import pytest
import tensorflow as tf

from fl_research.aggregation.compression import wire


@pytest.mark.parametrize(
  'width, count, length', [(1, 8, 1), (1, 9, 2), (3, 8, 3), (5, 3, 2), (32, 2, 8)]
)
def test_codes_come_back_from_as_few_bytes_as_hold_them(width, count, length):
  codes = np.random.default_rng(0).integers(0, 2 ** min(width, 31), count).astype(np.int32)
  message = wire.pack_codes(tf.constant(codes), width)
  assert message.shape == (length,) and wire.num_packed(count, width) == length
  np.testing.assert_array_equal(wire.unpack_codes(message, count, width), codes)


def test_bits_fill_bytes_from_the_lowest_up_and_the_last_with_zeros():
  bits = [0, 1, 1, 0, 0, 0, 0, 0, 1, 1]
  message = wire.pack_bits(tf.constant(bits))
  assert message.numpy().tolist() == [6, 3] and wire.num_packed(10) == 2
  np.testing.assert_array_equal(wire.unpack_bits(message), [*bits, *[0] * 6])


def test_a_reader_takes_one_part_after_the_other():
  numbers = np.array([[1.5, -2.0, 3e38], [0.0, np.inf, -1e-30]], np.float32)
  message = wire.join(
    [
      wire.to_bytes(tf.constant(numbers)),
      wire.to_bytes(tf.constant([7, -8])),
      wire.pack_codes(tf.constant([3, 0, 2]), 2),
      wire.to_bytes(tf.constant(9)),
    ]
  )
  assert message.shape == (24 + 8 + 1 + 4,)
  reader = wire.Reader(message)
  np.testing.assert_array_equal(reader.float32(2, 3), numbers)
  np.testing.assert_array_equal(reader.int32(2), [7, -8])
  np.testing.assert_array_equal(reader.codes(3, 2), [3, 0, 2])
  assert reader.int32().numpy() == 9
  assert wire.join([]).shape == (0,)

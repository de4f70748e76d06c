"""Vectors over Z_2^b, packed and masked."""

from cryptography.hazmat.primitives.ciphers import algorithms, Cipher, modes
import numpy as np
import pytest

from fl_research.secure_aggregation import masks
from fl_research.secure_aggregation.errors import ProtocolError
from tests.secure_aggregation import sessions

WIDTHS = (1, 7, 8, 9, 16, 25, 32, 41, 63, 64)


@pytest.mark.parametrize('bits', WIDTHS)
def test_packing_takes_b_bits_an_entry_and_loses_nothing(bits):
  ring = masks.Ring(16, bits)
  vector = sessions.vectors([0], 16, bits)[0]
  packed = ring.pack(ring.words(vector))
  assert len(packed) == ring.num_bytes == 2 * bits
  np.testing.assert_array_equal(ring.vector(ring.unpack(packed)), vector)


@pytest.mark.parametrize('bits', WIDTHS)
def test_masks_hide_and_cancel(bits):
  ring = masks.Ring(9, bits)
  vector = sessions.vectors([0], 9, bits)[0]
  words = ring.words(vector)
  ring.mask(words, b'k' * 32, 1)
  assert bits < 4 or (ring.vector(words) != vector).any()
  masked = ring.unpack(ring.pack(words))
  ring.mask(masked, b'k' * 32, -1)
  np.testing.assert_array_equal(ring.vector(masked), vector)


def test_a_mask_is_the_stream_of_its_key_whatever_its_length():
  size = masks._BLOCK_BYTES // 4 + 3
  ring = masks.Ring(size, 32)
  words = ring.zeros()
  ring.mask(words, b'k' * 32, 1)
  stream = Cipher(algorithms.AES(b'k' * 32), modes.CTR(bytes(16))).encryptor()
  assert words.tobytes() == stream.update(bytes(4 * size))


def test_what_is_no_vector_of_the_ring_is_refused():
  ring = masks.Ring(9, 20)
  with pytest.raises(ValueError, match=r'accepted is uint64 \(9,\)'):
    ring.words(np.zeros(9, np.int64))
  with pytest.raises(ValueError, match='1048576; accepted are entries below 2\\^20'):
    ring.words(np.full(9, 2**20, np.uint64))
  with pytest.raises(ProtocolError, match='takes 25 bytes, not 26'):
    ring.unpack(bytes(25))

"""Vectors over Z_2^b, the masks that hide them, and how they are sent.

A mask is AES-256 in counter mode (NIST SP 800-38A) under a key that is used for nothing else. It is
added up in the smallest whole word that has b bits, since 2^b divides the word's own modulus; what
is above b bits is cut off at the end.
"""

from cryptography.hazmat.primitives.ciphers import algorithms, Cipher, modes
import numpy as np

from fl_research.secure_aggregation.errors import ProtocolError

_BLOCK_BYTES = 1 << 19  # Fits into a processor's cache, which makes adding a block up cheap.
_ZEROS = bytes(_BLOCK_BYTES)


class Ring:
  """Vectors of so many entries over Z_2^b.

  Attributes:
    size: number of entries.
    bits: b.
    num_bytes: what a vector takes when it is sent.
  """

  def __init__(self, size: int, bits: int):
    self.size, self.bits = size, bits
    self._word = next(np.dtype(f'<u{n}') for n in (1, 2, 4, 8) if bits <= 8 * n)
    self._whole, self._rest = divmod(bits, 8)
    self.num_bytes = size * self._whole + self._rest * _bytes_of(size)

  def words(self, vector: np.ndarray) -> np.ndarray:
    """A copy of an uint64 vector, for masks to be added to.

    Raises:
      ValueError: it is of another type or size, or has an entry of more than b bits.
    """
    if vector.dtype != np.uint64 or vector.shape != (self.size,):
      raise ValueError(f'{vector.dtype} {vector.shape}; accepted is uint64 ({self.size},)')
    if self.bits < 64 and int(vector.max()) >> self.bits:
      raise ValueError(f'{int(vector.max())}; accepted are entries below 2^{self.bits}')
    return vector.astype(self._word)

  def zeros(self) -> np.ndarray:
    """The zero vector, for masks and vectors to be added to."""
    return np.zeros(self.size, self._word)

  def vector(self, words: np.ndarray) -> np.ndarray:
    """The uint64 vector that these words stand for."""
    return words.astype(np.uint64) & np.uint64(2**self.bits - 1)

  def mask(self, words: np.ndarray, key: bytes, sign: int) -> None:
    """Adds the mask of a key of 32 bytes to the words, or subtracts it where `sign` is -1."""
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    buffer = np.empty(_BLOCK_BYTES + 15, np.uint8)  # 15 more are asked for by the library.
    step = _BLOCK_BYTES // self._word.itemsize
    for start in range(0, self.size, step):
      part = words[start : start + step]
      stream.update_into(memoryview(_ZEROS)[: part.nbytes], buffer.data)
      own = buffer[: part.nbytes].view(self._word)
      if sign > 0:
        part += own
      else:
        part -= own

  def pack(self, words: np.ndarray) -> bytes:
    """The lowest b bits: whole bytes entry by entry, then the bits that are left bit by bit."""
    parts = words.view(np.uint8).reshape(self.size, -1)
    packed = [parts[:, : self._whole].tobytes()]
    for bit in range(self._rest):
      packed.append(np.packbits(parts[:, self._whole] >> bit & 1).tobytes())
    return b''.join(packed)

  def unpack(self, packed: bytes) -> np.ndarray:
    """The words that were packed.

    Raises:
      ProtocolError: it is of another length.
    """
    if len(packed) != self.num_bytes:
      raise ProtocolError(f'the vector takes {len(packed)} bytes, not {self.num_bytes}')
    words = self.zeros()
    parts = words.view(np.uint8).reshape(self.size, -1)
    own = np.frombuffer(packed, np.uint8)
    whole = self.size * self._whole
    parts[:, : self._whole] = own[:whole].reshape(self.size, self._whole)
    for bit, row in enumerate(own[whole:].reshape(self._rest, _bytes_of(self.size))):
      parts[:, self._whole] += np.unpackbits(row, count=self.size) * np.uint8(1 << bit)
    return words


def _bytes_of(bits: int) -> int:
  return -(-bits // 8)

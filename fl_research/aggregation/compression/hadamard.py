"""Random Hadamard rotations in O(n log n).

R = H D, with D a random diagonal of ±1 and H the Walsh-Hadamard matrix (Sylvester's order) divided
by the root of its size, which is orthogonal and its own inverse. Ailon, Chazelle 2006; Suresh, Yu,
Kumar, McMahan 2017, "Distributed Mean Estimation with Limited Communication", section 3.

H exists for powers of two. Padding a whole vector to the next one can nearly double what is sent
(784 · 200 numbers would become 2^18), so a vector is cut into equal blocks, each of them rotated,
as large as they can be while zeros add at most 1/16, or 64 numbers. A vector whose length is a
power of two is one block, as in the papers.
"""

import numpy as np
import tensorflow as tf

_MAX_PADDING_SHARE = 1 / 16
_MAX_PADDING = 64
_RADIX = 6  # Bits per pass: products with a 64 × 64 matrix were fastest on CPU.


def layout(count: int) -> tuple[int, int]:
  """The number of blocks and their size, for vectors of `count` ≥ 1 numbers."""
  allowed = max(count * _MAX_PADDING_SHARE, _MAX_PADDING)
  block = 1 << (count - 1).bit_length()
  while -count % block > allowed:
    block //= 2
  return -(-count // block), block


def transform(rows: tf.Tensor) -> tf.Tensor:
  """H applied to every row of float32 [blocks, n], n a power of two.

  H of n = a b is the Kronecker product of the H of a and the H of b, so each pass multiplies the
  last 6 bits of the index by a small matrix and then turns them to the front.
  """
  blocks, block = rows.shape
  bits = int(block).bit_length() - 1
  values = rows
  while bits > 0:
    radix = 1 << min(bits, _RADIX)
    bits -= _RADIX
    product = tf.matmul(tf.reshape(values, [-1, radix]), tf.constant(_matrix(radix)))
    values = tf.transpose(tf.reshape(product, [blocks, block // radix, radix]), [0, 2, 1])
  return tf.reshape(values, [blocks, block])


def _matrix(size: int) -> np.ndarray:
  """The orthogonal Walsh-Hadamard matrix of that size, float32."""
  matrix = np.ones([1, 1])
  while len(matrix) < size:
    matrix = np.block([[matrix, matrix], [matrix, -matrix]])
  return (matrix / np.sqrt(size)).astype(np.float32)


def signs(blocks: int, block: int, seed: tf.Tensor) -> tf.Tensor:
  """The diagonal of D: -1.0 and 1.0 at random, float32 [blocks, block]."""
  draws = tf.random.stateless_uniform([blocks, block], seed, None, None, tf.int32)
  return tf.where(draws < 0, -1.0, 1.0)


def rotate(vector: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
  """The blocks of a vector [n], rotated: float32 [blocks, block] of `layout(n)`."""
  count = vector.shape[0]
  blocks, block = layout(count)
  rows = tf.reshape(tf.pad(vector, [[0, blocks * block - count]]), [blocks, block])
  return transform(rows * signs(blocks, block, seed))


def rotate_back(rows: tf.Tensor, seed: tf.Tensor, count: int) -> tf.Tensor:
  """The inverse of `rotate`, for vectors of `count` numbers."""
  blocks, block = rows.shape
  vector = transform(rows) * signs(blocks, block, seed)
  return tf.reshape(vector, [-1])[:count]

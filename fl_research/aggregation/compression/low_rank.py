"""Structured updates of low rank: a client trains, and sends, one factor of a product.

Konečný, McMahan, Yu, Richtárik, Suresh, Bacon 2016, "Federated Learning: Strategies for Improving
Communication Efficiency", section 2. The update of a weight matrix is H = A B with A [d1, k] random
and B [k, d2]; A is drawn afresh for every client and round, from a seed, and stays fixed during
training, so only B and the seed are sent: k/d1 of the numbers.

A convolution's kernel [height, width, inputs, outputs] is taken as a matrix with one column per
output, as in the paper, and so is any tensor of more dimensions. Vectors, and matrices with
d1 ≤ k, have nothing to gain and are sent whole.

TFF's native runtime brings a TensorFlow of its own, whose QR
differs from the Python package's in the last bit. Steps on B are the client optimiser's steps on H
projected by A Aᵀ (see `fl_research.optimizers.restricted_optimizer`).

`rank` below 1 is a share of d1, rounded up (the paper's "mode"); from 1 on it is k.

Differences from the paper:
1. The paper does not say how A is drawn. Here its columns are an orthonormal basis of a uniformly
   random subspace (Q of a Gaussian matrix's QR): of the same span as Gaussian columns, and with
   k = d1 training is not restricted at all.
2. Any optimiser that is linear in the gradients may train B; the paper uses SGD.
"""

import tensorflow as tf

from fl_research.aggregation.compression import stage as stage_lib
from fl_research.registry import UsageError


class LowRank(stage_lib.Stage):
  """Konečný et al. 2016, section 2, "low rank". Message: nothing but B, left to the next stage.

  Args:
    rank: the share of d1, or k.
  """

  needs_seed = True

  def __init__(self, rank: float):
    self._rank = rank

  def check_shapes(self, shapes):
    rows = [_rows(shape) for shape in shapes if len(shape) > 1]
    if self._rank > max(rows, default=0):
      raise UsageError(
        f'--low_rank_rank={self._rank:g}: the largest matrix of this model has '
        f'{max(rows, default=0)} rows; accepted is a rank of at most that, or a share of the rows'
      )

  def projection(self, shape, seed):
    basis = self._basis(shape, seed)
    if basis is None:
      return None

    def project(step):
      factor = tf.matmul(basis, tf.reshape(step, [_rows(shape), shape[-1]]), transpose_a=True)
      return tf.reshape(tf.matmul(basis, factor), shape)

    return project

  def shape_after(self, shape):
    return shape if self._is_whole(shape) else (self._k(shape), shape[-1])

  def encode(self, tensor, seed):
    shape = tuple(tensor.shape)
    basis = self._basis(shape, seed)
    if basis is None:
      return stage_lib.Encoded((), tensor)
    matrix = tf.reshape(tensor, [_rows(shape), shape[-1]])
    return stage_lib.Encoded((), tf.matmul(basis, matrix, transpose_a=True))

  def decode(self, values, reader, shape, seed):
    basis = self._basis(shape, seed)
    return values if basis is None else tf.reshape(tf.matmul(basis, values), shape)

  def _k(self, shape: stage_lib.Shape) -> int:
    rows = _rows(shape)
    return stage_lib.share(self._rank, rows) if self._rank < 1 else min(int(self._rank), rows)

  def _is_whole(self, shape: stage_lib.Shape) -> bool:
    return len(shape) < 2 or self._k(shape) == _rows(shape)

  def _basis(self, shape: stage_lib.Shape, seed: tf.Tensor):
    """A [d1, k]; None for tensors that are sent whole."""
    if self._is_whole(shape):
      return None
    gaussian = tf.random.stateless_normal([_rows(shape), self._k(shape)], seed)
    return tf.linalg.qr(gaussian)[0]


def _rows(shape: stage_lib.Shape) -> int:
  """d1: all dimensions but the last."""
  return stage_lib.size(shape[:-1])


def build(rank: float) -> stage_lib.Stage:
  """The registry's entry point."""
  return LowRank(rank)

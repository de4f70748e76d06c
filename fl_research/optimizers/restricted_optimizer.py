"""Optimisers whose steps stay in a linear space, for updates of a cheaper structure."""

from collections.abc import Callable, Sequence
from typing import Optional

import tensorflow as tf
import tensorflow_federated as tff

Projection = Optional[Callable[[tf.Tensor], tf.Tensor]]
"""An orthogonal projection of one weight's steps; None where anything may move."""


def restrict(
  optimizer: tff.learning.optimizers.Optimizer, projections: Sequence[Projection]
) -> tff.learning.optimizers.Optimizer:
  """The optimiser with its steps projected; itself where no weight is restricted."""
  if not any(projections):
    return optimizer
  return RestrictedOptimizer(optimizer, projections)


def unrestricted(
  optimizer: tff.learning.optimizers.Optimizer,
) -> tff.learning.optimizers.Optimizer:
  """The optimiser without any restriction, for weights that are never sent."""
  return optimizer.optimizer if isinstance(optimizer, RestrictedOptimizer) else optimizer


def project(
  optimizer: tff.learning.optimizers.Optimizer, tensors: Sequence[tf.Tensor]
) -> tuple[tf.Tensor, ...]:
  """What is left of one tensor for each weight in the space of the optimiser's steps."""
  if not isinstance(optimizer, RestrictedOptimizer):
    return tuple(tensors)
  return optimizer.project(tensors)


class RestrictedOptimizer(tff.learning.optimizers.Optimizer):
  """Takes the steps P(s) in place of an optimiser's own steps s.

  Where s is linear in the gradients seen so far, as for SGD with or without momentum, that is the
  same as training the parameters of the space: with H = A B, A of orthonormal columns, a step on B
  moves H by A Aᵀ s, and P = A Aᵀ. Weight decay is projected along with the gradient; clipping
  sees the gradient of all weights. Adaptive optimisers, whose steps are not linear, would train
  something else; `fl_research.soundness.validation.validate` refuses them.

  Args:
    optimizer: the optimiser.
    projections: one for each weight.
  """

  def __init__(
    self, optimizer: tff.learning.optimizers.Optimizer, projections: Sequence[Projection]
  ):
    self._optimizer = optimizer
    self._projections = tuple(projections)

  @property
  def optimizer(self) -> tff.learning.optimizers.Optimizer:
    """The optimiser whose steps are projected."""
    return self._optimizer

  def for_weights(self, positions: Sequence[int]) -> tff.learning.optimizers.Optimizer:
    """The same restriction for an optimiser that sees these weights only."""
    return restrict(self._optimizer, [self._projections[i] for i in positions])

  def project(self, tensors: Sequence[tf.Tensor]) -> tuple[tf.Tensor, ...]:
    """P of one tensor for each weight."""
    pairs = zip(self._projections, tensors, strict=True)
    return tuple(t if projection is None else projection(t) for projection, t in pairs)

  def initialize(self, specs):
    return self._optimizer.initialize(specs)

  def next(self, state, weights, gradients):
    state, moved = self._optimizer.next(state, weights, gradients)
    before, after = tf.nest.flatten(weights), tf.nest.flatten(moved)
    restricted = [
      new if projection is None else old + projection(new - old)
      for projection, old, new in zip(self._projections, before, after, strict=True)
    ]
    return state, tf.nest.pack_sequence_as(moved, restricted)

  def get_hparams(self, state):
    return self._optimizer.get_hparams(state)

  def set_hparams(self, state, hparams):
    return self._optimizer.set_hparams(state, hparams)

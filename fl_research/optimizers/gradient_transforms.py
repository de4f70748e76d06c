"""What is done to a gradient before an optimiser takes its step."""

import tensorflow as tf
import tensorflow_federated as tff


class TransformedOptimizer(tff.learning.optimizers.Optimizer):
  """An optimiser of the clipped gradient plus weight decay.

  With C the clipping norm and λ the decay it passes g min(1, C/|g|) + λw to the optimiser, |g|
  being the norm over all weights together. C = 0 means no clipping.

  Args:
    optimizer: the optimiser that takes the step.
    clip_norm: C ≥ 0.
    weight_decay: λ ≥ 0.
  """

  def __init__(
    self, optimizer: tff.learning.optimizers.Optimizer, clip_norm: float, weight_decay: float
  ):
    self._optimizer = optimizer
    self._clip_norm = clip_norm
    self._weight_decay = weight_decay

  def initialize(self, specs):
    return self._optimizer.initialize(specs)

  def next(self, state, weights, gradients):
    if self._clip_norm:
      clipped, _ = tf.clip_by_global_norm(tf.nest.flatten(gradients), self._clip_norm)
      gradients = tf.nest.pack_sequence_as(gradients, clipped)
    if self._weight_decay:
      decay = self._weight_decay
      gradients = tf.nest.map_structure(lambda g, w: g + decay * w, gradients, weights)
    return self._optimizer.next(state, weights, gradients)

  def get_hparams(self, state):
    return self._optimizer.get_hparams(state)

  def set_hparams(self, state, hparams):
    return self._optimizer.set_hparams(state, hparams)

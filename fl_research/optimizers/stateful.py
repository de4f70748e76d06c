"""Optimisers of this library's own, by the rule of one step."""

import abc
import collections
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

Tensors = Sequence[tf.Tensor]

_RATE = tff.learning.optimizers.LEARNING_RATE_KEY


class StatefulOptimizer(tff.learning.optimizers.Optimizer):
  """An optimiser with a rate, a count of steps, and some moments shaped like the weights.

  A subclass gives `moments`, their names, all of them 0 at first, and `step`.

  Args:
    learning_rate: η ≥ 0.
  """

  moments: tuple[str, ...] = ()

  def __init__(self, learning_rate: float):
    self._learning_rate = learning_rate

  @abc.abstractmethod
  def step(
    self, count: tf.Tensor, weights: Tensors, gradients: Tensors, moments: Mapping[str, Tensors]
  ) -> tuple[Tensors, Mapping[str, Tensors]]:
    """What is subtracted from the weights, before it is multiplied by the rate, and new moments.

    Args:
      count: float32 [], which step it is, from 1.
      weights, gradients: one tensor for each weight.
      moments: the same by name.
    """

  def initialize(self, specs):
    flat = tf.nest.flatten(specs)
    zeros = lambda: tuple(tf.zeros(spec.shape, spec.dtype) for spec in flat)
    moments = collections.OrderedDict((name, zeros()) for name in self.moments)
    state = collections.OrderedDict([(_RATE, self._learning_rate), ('count', 0)])
    return collections.OrderedDict(state, **moments)

  def next(self, state, weights, gradients):
    gradients = tff.learning.optimizers.handle_indexed_slices_gradients(gradients)
    before = tuple(tf.nest.flatten(weights))
    count = state['count'] + 1
    moments = {name: tuple(state[name]) for name in self.moments}
    given = (tf.cast(count, tf.float32), before, tuple(tf.nest.flatten(gradients)), moments)
    steps, renewed = self.step(*given)
    rate = tf.cast(state[_RATE], tf.float32)
    after = [w - tf.cast(rate, w.dtype) * s for w, s in zip(before, steps, strict=True)]
    state = collections.OrderedDict(state, count=count)
    for name in self.moments:
      state[name] = tuple(renewed[name])
    return state, tf.nest.pack_sequence_as(weights, after)

  def get_hparams(self, state: Any) -> Any:
    return collections.OrderedDict([(_RATE, state[_RATE])])

  def set_hparams(self, state: Any, hparams: Any) -> Any:
    return collections.OrderedDict(state, **hparams)

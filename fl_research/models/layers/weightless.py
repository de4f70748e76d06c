"""Layers without weights: other shapes, functions of each number, dropout."""

import dataclasses

import numpy as np
import tensorflow as tf

from fl_research.models.layers import base


@dataclasses.dataclass(frozen=True)
class Reshape(base.Weightless):
  """The same numbers in another shape."""

  shape: base.Shape

  kind = 'reshape'

  def _output_shape(self, shape):
    return self.shape

  def __call__(self, weights, x, seed=None):
    return tf.reshape(x, [-1, *self.shape])

  def _keras_layer(self, name):
    return tf.keras.layers.Reshape(self.shape, name=name)


@dataclasses.dataclass(frozen=True)
class Flatten(base.Weightless):
  """All axes of an example in one."""

  kind = 'flatten'

  def _output_shape(self, shape):
    return (int(np.prod(shape)),)

  def __call__(self, weights, x, seed=None):
    if x.shape.rank == 2:
      return x
    return tf.reshape(x, [-1, int(np.prod(x.shape[1:]))])

  def _keras_layer(self, name):
    return tf.keras.layers.Flatten(name=name)


@dataclasses.dataclass(frozen=True)
class Activation(base.Weightless):
  """A function of each number: 'relu', 'sigmoid' or 'tanh'."""

  function: str

  kind = 'activation'

  def _output_shape(self, shape):
    return shape

  def __call__(self, weights, x, seed=None):
    return base.ACTIVATIONS[self.function](x)

  def _keras_layer(self, name):
    return tf.keras.layers.Activation(self.function, name=name)


@dataclasses.dataclass(frozen=True)
class Dropout(base.Weightless):
  """Zeroes a part `rate` of x and divides the rest by 1 - rate, in training with a seed.

  Srivastava et al. 2014. The draws are a pure function of the seed.
  """

  rate: float

  kind = 'dropout'

  @property
  def needs_seed(self):
    return True

  def _output_shape(self, shape):
    return shape

  def __call__(self, weights, x, seed=None):
    return x if seed is None else tf.nn.experimental.stateless_dropout(x, self.rate, seed)

  def _keras_layer(self, name):
    return tf.keras.layers.Dropout(self.rate, name=name)


def image_channels(shape: base.Shape) -> list[base.Layer]:
  """The layers that give a [height, width] image its axis of channels; none if it has one."""
  return [Reshape((*shape, 1))] if len(shape) == 2 else []

"""Layers that look at windows of images and signals: convolutions and pooling."""

import dataclasses

import numpy as np
import tensorflow as tf

from fl_research.models.initializers import glorot_uniform, he_normal
from fl_research.models.layers import base


@dataclasses.dataclass(frozen=True)
class Conv2D(base.Weighted):
  """Convolution of [height, width, channels] images, kernel Glorot uniform or He normal, b zero.

  Attributes:
    filters: channels of the output.
    size: side of the square kernel.
    activation: as in `Dense`.
    padding: 'SAME' or 'VALID'.
    stride: step in both directions.
    bias: whether a bias is added.
    initial: 'glorot_uniform' or 'he_normal'.
  """

  filters: int
  size: int
  activation: str = 'linear'
  padding: str = 'SAME'
  stride: int = 1
  bias: bool = True
  initial: str = 'glorot_uniform'

  kind = 'conv2d'

  @property
  def weight_names(self):
    return ('kernel', 'bias') if self.bias else ('kernel',)

  def initialise(self, shape, generator):
    size = (self.size, self.size, shape[2], self.filters)
    kernel = _kernel(self.initial, generator, size)
    bias = [np.zeros(self.filters, np.float32)] if self.bias else []
    sides = (_after_window(side, self.size, self.stride, self.padding) for side in shape[:2])
    return [kernel, *bias], (*sides, self.filters)

  def __call__(self, weights, x, seed=None):
    y = tf.nn.conv2d(x, weights[0], self.stride, self.padding)
    if self.bias:
      y = tf.nn.bias_add(y, weights[1])
    return base.ACTIVATIONS[self.activation](y)

  def _keras_layer(self, name):
    return tf.keras.layers.Conv2D(
      self.filters,
      self.size,
      self.stride,
      self.padding.lower(),
      activation=self.activation,
      use_bias=self.bias,
      name=name,
    )


@dataclasses.dataclass(frozen=True)
class Conv1D(base.Weighted):
  """Convolution of [time, channels] signals; attributes as in `Conv2D`."""

  filters: int
  size: int
  activation: str = 'linear'
  padding: str = 'SAME'
  stride: int = 1

  kind = 'conv1d'

  @property
  def weight_names(self):
    return ('kernel', 'bias')

  def initialise(self, shape, generator):
    kernel = _kernel('glorot_uniform', generator, (self.size, shape[1], self.filters))
    length = _after_window(shape[0], self.size, self.stride, self.padding)
    return [kernel, np.zeros(self.filters, np.float32)], (length, self.filters)

  def __call__(self, weights, x, seed=None):
    y = tf.nn.conv1d(x, weights[0], self.stride, self.padding)
    return base.ACTIVATIONS[self.activation](tf.nn.bias_add(y, weights[1]))

  def _keras_layer(self, name):
    return tf.keras.layers.Conv1D(
      self.filters,
      self.size,
      self.stride,
      self.padding.lower(),
      activation=self.activation,
      name=name,
    )


def _kernel(initial: str, generator: np.random.Generator, size: base.Shape) -> np.ndarray:
  """A convolution's first kernel; size is (..., channels in, channels out)."""
  field = int(np.prod(size[:-2]))
  if initial == 'he_normal':
    return he_normal(generator, size, field * size[-2])
  return glorot_uniform(generator, size, field * size[-2], field * size[-1])


def _after_window(length: int, size: int, stride: int, padding: str) -> int:
  """Number of positions of a window that slides over `length`."""
  return -(-length // stride) if padding == 'SAME' else (length - size) // stride + 1


@dataclasses.dataclass(frozen=True)
class MaxPool2D(base.Weightless):
  """Maximum over square windows of [height, width, channels]; parts of windows count."""

  size: int = 2
  stride: int = 2

  kind = 'max_pool2d'

  @property
  def pools(self):
    return True

  def _output_shape(self, shape):
    sides = (_after_window(side, self.size, self.stride, 'SAME') for side in shape[:2])
    return (*sides, shape[2])

  def __call__(self, weights, x, seed=None):
    return tf.nn.max_pool2d(x, self.size, self.stride, 'SAME')

  def _keras_layer(self, name):
    return tf.keras.layers.MaxPool2D(self.size, self.stride, 'same', name=name)


@dataclasses.dataclass(frozen=True)
class MaxPool1D(base.Weightless):
  """Maximum over windows of [time, channels]; parts of windows count."""

  size: int = 2

  kind = 'max_pool1d'

  @property
  def pools(self):
    return True

  def _output_shape(self, shape):
    return (_after_window(shape[0], self.size, self.size, 'SAME'), shape[1])

  def __call__(self, weights, x, seed=None):
    return tf.nn.max_pool1d(x, self.size, self.size, 'SAME')

  def _keras_layer(self, name):
    return tf.keras.layers.MaxPool1D(self.size, self.size, 'same', name=name)


@dataclasses.dataclass(frozen=True)
class GlobalAveragePool2D(base.Weightless):
  """Mean of [height, width, channels] over height and width."""

  kind = 'global_average_pool2d'

  def _output_shape(self, shape):
    return (shape[-1],)

  def __call__(self, weights, x, seed=None):
    return tf.math.reduce_mean(x, axis=[1, 2])

  def _keras_layer(self, name):
    return tf.keras.layers.GlobalAveragePooling2D(name=name)

"""Small layers that are pure functions of (weights, x), each with its twin among Keras's layers.

A layer is a frozen description. It makes its first weights (`initialise`, with Keras's default
distributions), applies them as raw TensorFlow operations without any variable (`__call__`), and
builds the stock Keras layer that holds the same weights (`keras`). One description of a network
thus gives the function that is trained in a federated way and the file that
`tf.keras.models.load_model` opens.

Shapes written below leave out the batch axis, except where n is written. Weights are passed as a
flat sequence; a container cuts it by the number of names of each of its parts.
"""

import abc
from collections import OrderedDict
from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Optional

import numpy as np
import tensorflow as tf

Shape = tuple[int, ...]
Weights = Sequence[Any]
"""Tensors (or arrays), in the order of the layer's `weight_names`."""

_ACTIVATIONS = {
  'linear': lambda x: x,
  'relu': tf.nn.relu,
  'sigmoid': tf.nn.sigmoid,
  'tanh': tf.nn.tanh,
}


def glorot_uniform(
  generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int
) -> np.ndarray:
  """U(-l, l) with l = sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 16)."""
  limit = np.sqrt(6.0 / (fan_in + fan_out))
  return generator.uniform(-limit, limit, shape).astype(np.float32)


def he_normal(generator: np.random.Generator, shape: Shape, fan_in: int) -> np.ndarray:
  """Normal of variance 2 / fan_in, cut at two deviations and rescaled (He et al. 2015, eq. 10).

  Cutting shrinks the deviation by 0.8796, which is divided out, as Keras does.
  """
  draws = generator.standard_normal(shape)
  while np.any(outside := np.abs(draws) > 2):
    draws[outside] = generator.standard_normal(np.count_nonzero(outside))
  return (draws * np.sqrt(2.0 / fan_in) / 0.87962566103423978).astype(np.float32)


def orthogonal(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
  """A random matrix with orthonormal rows or columns, whichever are fewer (Saxe et al. 2014)."""
  draws = generator.standard_normal((max(shape), min(shape)))
  q, r = np.linalg.qr(draws)
  q = q * np.sign(np.diag(r))  # makes the distribution uniform over orthogonal matrices
  return (q if shape[0] >= shape[1] else q.T).astype(np.float32)


class Layer(abc.ABC):
  """One layer, or a container of layers.

  `kind` names the layer in its weights' names: the second Dense of a network is `dense_2`.
  """

  kind: str = ''

  @property
  def weight_names(self) -> tuple[str, ...]:
    """Names of the weights, in order; empty for a layer without any."""
    return ()

  @property
  def needs_seed(self) -> bool:
    """Whether training draws random numbers (dropout)."""
    return False

  @abc.abstractmethod
  def initialise(
    self, shape: Shape, generator: np.random.Generator
  ) -> tuple[list[np.ndarray], Shape]:
    """First weights for inputs of that shape, and the shape of the output."""

  @abc.abstractmethod
  def __call__(self, weights: Weights, x: tf.Tensor, seed: Optional[tf.Tensor] = None) -> tf.Tensor:
    """The output for a batch x.

    Args:
      weights: as many as there are names.
      x: [n, ...].
      seed: int32 [2] for what is random in training; None in evaluation.
    """

  @abc.abstractmethod
  def keras(self, weights: Weights, x: Any, name: str) -> Any:
    """The output, as a Keras tensor, of the stock Keras layer with these weights."""


class _Weightless(Layer):
  """A layer without weights: a function and the Keras layer that computes the same."""

  @abc.abstractmethod
  def _output_shape(self, shape: Shape) -> Shape:
    """Shape of the output."""

  @abc.abstractmethod
  def _keras_layer(self, name: str) -> Any:
    """The twin."""

  def initialise(self, shape, generator):
    return [], self._output_shape(shape)

  def keras(self, weights, x, name):
    return self._keras_layer(name)(x)


class _Weighted(Layer):
  """A layer whose Keras twin takes our weights, in our order."""

  @abc.abstractmethod
  def _keras_layer(self, name: str) -> Any:
    """The twin, not yet built."""

  def keras(self, weights, x, name):
    layer = self._keras_layer(name)
    y = layer(x)
    layer.set_weights([np.asarray(weight) for weight in weights])
    return y


@dataclasses.dataclass(frozen=True)
class Dense(_Weighted):
  """y = activation(x W + b), W Glorot uniform, b zero; works on the last axis of x.

  Attributes:
    units: width of y.
    activation: 'linear', 'relu', 'sigmoid' or 'tanh'.
    deviation: if given, W is normal of mean 0 and this deviation instead.
  """

  units: int
  activation: str = 'linear'
  deviation: Optional[float] = None

  kind = 'dense'

  @property
  def weight_names(self):
    return ('kernel', 'bias')

  def initialise(self, shape, generator):
    size = (shape[-1], self.units)
    if self.deviation is None:
      kernel = glorot_uniform(generator, size, *size)
    else:
      kernel = (self.deviation * generator.standard_normal(size)).astype(np.float32)
    return [kernel, np.zeros(self.units, np.float32)], (*shape[:-1], self.units)

  def __call__(self, weights, x, seed=None):
    kernel, bias = weights
    if x.shape.rank == 2:
      product = tf.linalg.matmul(x, kernel)
    else:
      # One flat product is faster than the batched one that tf.matmul would choose.
      flat = tf.linalg.matmul(tf.reshape(x, [-1, x.shape[-1]]), kernel)
      product = tf.reshape(flat, tf.concat([tf.shape(x)[:-1], [self.units]], 0))
      product.set_shape([*x.shape[:-1], self.units])
    return _ACTIVATIONS[self.activation](tf.nn.bias_add(product, bias))

  def _keras_layer(self, name):
    return tf.keras.layers.Dense(self.units, activation=self.activation, name=name)


@dataclasses.dataclass(frozen=True)
class Conv2D(_Weighted):
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
    return _ACTIVATIONS[self.activation](y)

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
class Conv1D(_Weighted):
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
    return _ACTIVATIONS[self.activation](tf.nn.bias_add(y, weights[1]))

  def _keras_layer(self, name):
    return tf.keras.layers.Conv1D(
      self.filters,
      self.size,
      self.stride,
      self.padding.lower(),
      activation=self.activation,
      name=name,
    )


def _kernel(initial: str, generator: np.random.Generator, size: Shape) -> np.ndarray:
  """A convolution's first kernel; size is (..., channels in, channels out)."""
  field = int(np.prod(size[:-2]))
  if initial == 'he_normal':
    return he_normal(generator, size, field * size[-2])
  return glorot_uniform(generator, size, field * size[-2], field * size[-1])


def _after_window(length: int, size: int, stride: int, padding: str) -> int:
  """Number of positions of a window that slides over `length`."""
  return -(-length // stride) if padding == 'SAME' else (length - size) // stride + 1


@dataclasses.dataclass(frozen=True)
class MaxPool2D(_Weightless):
  """Maximum over square windows of [height, width, channels]; parts of windows count."""

  size: int = 2
  stride: int = 2

  kind = 'max_pool2d'

  def _output_shape(self, shape):
    sides = (_after_window(side, self.size, self.stride, 'SAME') for side in shape[:2])
    return (*sides, shape[2])

  def __call__(self, weights, x, seed=None):
    return tf.nn.max_pool2d(x, self.size, self.stride, 'SAME')

  def _keras_layer(self, name):
    return tf.keras.layers.MaxPool2D(self.size, self.stride, 'same', name=name)


@dataclasses.dataclass(frozen=True)
class MaxPool1D(_Weightless):
  """Maximum over windows of [time, channels]; parts of windows count."""

  size: int = 2

  kind = 'max_pool1d'

  def _output_shape(self, shape):
    return (_after_window(shape[0], self.size, self.size, 'SAME'), shape[1])

  def __call__(self, weights, x, seed=None):
    return tf.nn.max_pool1d(x, self.size, self.size, 'SAME')

  def _keras_layer(self, name):
    return tf.keras.layers.MaxPool1D(self.size, self.size, 'same', name=name)


@dataclasses.dataclass(frozen=True)
class GlobalAveragePool(_Weightless):
  """Mean over all axes but the last: [height, width, channels] or [time, channels]."""

  rank: int = 3

  kind = 'global_average_pool'

  def _output_shape(self, shape):
    return (shape[-1],)

  def __call__(self, weights, x, seed=None):
    return tf.math.reduce_mean(x, axis=list(range(1, self.rank)))

  def _keras_layer(self, name):
    layers = tf.keras.layers
    two = self.rank == 3
    return (layers.GlobalAveragePooling2D if two else layers.GlobalAveragePooling1D)(name=name)


@dataclasses.dataclass(frozen=True)
class Reshape(_Weightless):
  """The same numbers in another shape."""

  shape: Shape

  kind = 'reshape'

  def _output_shape(self, shape):
    return self.shape

  def __call__(self, weights, x, seed=None):
    return tf.reshape(x, [-1, *self.shape])

  def _keras_layer(self, name):
    return tf.keras.layers.Reshape(self.shape, name=name)


@dataclasses.dataclass(frozen=True)
class Flatten(_Weightless):
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
class Activation(_Weightless):
  """A function of each number: 'relu', 'sigmoid' or 'tanh'."""

  function: str

  kind = 'activation'

  def _output_shape(self, shape):
    return shape

  def __call__(self, weights, x, seed=None):
    return _ACTIVATIONS[self.function](x)

  def _keras_layer(self, name):
    return tf.keras.layers.Activation(self.function, name=name)


@dataclasses.dataclass(frozen=True)
class Sequential(Layer):
  """Layers one after the other; build it with `sequential`.

  Attributes:
    layers: the layers by name.
    kind: name of the container inside another one.
  """

  layers: Mapping[str, Layer]
  kind: str = 'sequential'

  @property
  def weight_names(self):
    return tuple(f'{name}/{w}' for name, layer in self.layers.items() for w in layer.weight_names)

  @property
  def needs_seed(self):
    return any(layer.needs_seed for layer in self.layers.values())

  def initialise(self, shape, generator):
    weights: list[np.ndarray] = []
    for layer in self.layers.values():
      more, shape = layer.initialise(shape, generator)
      weights.extend(more)
    return weights, shape

  def __call__(self, weights, x, seed=None):
    for layer, part in zip(self.layers.values(), self._split(weights)):
      if layer.needs_seed and seed is not None:
        # Each layer that draws gets a seed of its own, and hands on another.
        own, seed = tf.unstack(tf.random.split(seed, 2))
        x = layer(part, x, own)
      else:
        x = layer(part, x)
    return x

  def keras(self, weights, x, name):
    for (own, layer), part in zip(self.layers.items(), self._split(weights)):
      x = layer.keras(part, x, f'{name}_{own}' if name else own)
    return x

  def _split(self, weights: Weights) -> list[Weights]:
    """The weights of each layer."""
    ends = np.cumsum([len(layer.weight_names) for layer in self.layers.values()]).tolist()
    return [weights[first:last] for first, last in zip([0, *ends[:-1]], ends)]


def sequential(*layers: Layer, kind: str = 'sequential') -> Sequential:
  """Chains layers, each named by its kind and its number among its kind, from 1."""
  named: OrderedDict[str, Layer] = OrderedDict()
  seen: dict[str, int] = {}
  for layer in layers:
    seen[layer.kind] = seen.get(layer.kind, 0) + 1
    named[f'{layer.kind}_{seen[layer.kind]}'] = layer
  return Sequential(named, kind)


def image_channels(shape: Shape) -> list[Layer]:
  """The layers that give a [height, width] image its axis of channels; none if it has one."""
  return [Reshape((*shape, 1))] if len(shape) == 2 else []

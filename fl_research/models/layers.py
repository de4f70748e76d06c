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
from collections.abc import Iterator, Mapping, Sequence
import dataclasses
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from fl_research.models.initializers import glorot_uniform, he_normal

Shape = tuple[int, ...]
Weights = Sequence[Any]
"""Tensors (or arrays), in the order of the layer's `weight_names`."""

_ACTIVATIONS = {
  'linear': lambda x: x,
  'relu': tf.nn.relu,
  'sigmoid': tf.nn.sigmoid,
  'tanh': tf.nn.tanh,
}


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

  @property
  def pools(self) -> bool:
    """Whether it takes a maximum over windows."""
    return False

  @property
  def untrained(self) -> tuple[bool, ...]:
    """For each weight whether it is to stay as it begins."""
    return (False,) * len(self.weight_names)

  @abc.abstractmethod
  def initialise(
    self, shape: Shape, generator: np.random.Generator
  ) -> tuple[list[np.ndarray], Shape]:
    """First weights for inputs of that shape, and the shape of the output."""

  def with_features(
    self, weights: Weights, x: tf.Tensor, seed: Optional[tf.Tensor] = None
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """What the last layer that has weights is given, and the output; arguments as of a call.

    Raises:
      NotImplementedError: there is no such layer, or it cannot be told.
    """
    raise NotImplementedError(f'a {self.kind} has no last layer that can be told from the others')

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

  def saved(self, weights: Weights) -> dict[str, Any]:
    """What a file of these weights holds, by name: constants of the network, too."""
    return dict(zip(self.weight_names, weights, strict=True))

  def keras_model(self, weights: Weights, shape: Shape, dtype: Any) -> tf.keras.Model:
    """A Keras model with these weights, for inputs of that shape and type."""
    x = tf.keras.Input(shape, dtype=np.dtype(dtype).name)
    return tf.keras.Model(x, self.keras(weights, x, ''))


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
class MaxPool1D(_Weightless):
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
class GlobalAveragePool2D(_Weightless):
  """Mean of [height, width, channels] over height and width."""

  kind = 'global_average_pool2d'

  def _output_shape(self, shape):
    return (shape[-1],)

  def __call__(self, weights, x, seed=None):
    return tf.math.reduce_mean(x, axis=[1, 2])

  def _keras_layer(self, name):
    return tf.keras.layers.GlobalAveragePooling2D(name=name)


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
class Dropout(_Weightless):
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


@tf.custom_gradient
def _rows(table: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
  """Rows of a table, with a dense gradient, which optimisers and aggregation expect."""

  def gradient(upstream):
    flat = tf.reshape(upstream, [-1, table.shape[1]])
    return tf.math.unsorted_segment_sum(flat, tf.reshape(ids, [-1]), table.shape[0]), None

  return tf.gather(table, ids), gradient


@dataclasses.dataclass(frozen=True)
class Embedding(_Weighted):
  """A row of numbers for every id: int32 [...] to [..., dimension]; first values U(-.05, .05).

  Attributes:
    size: number of ids.
    dimension: numbers per id.
  """

  size: int
  dimension: int

  kind = 'embedding'

  @property
  def weight_names(self):
    return ('embeddings',)

  def initialise(self, shape, generator):
    table = generator.uniform(-0.05, 0.05, (self.size, self.dimension)).astype(np.float32)
    return [table], (*shape, self.dimension)

  def __call__(self, weights, x, seed=None):
    return _rows(tf.convert_to_tensor(weights[0]), x)

  def _keras_layer(self, name):
    return tf.keras.layers.Embedding(self.size, self.dimension, name=name)


@dataclasses.dataclass(frozen=True)
class GroupNorm(_Weighted):
  """Normalises each example over groups of channels (Wu and He 2018, eq. 1-3).

  y = gamma (x - mean) / sqrt(variance + epsilon) + beta, moments over the channels of a group and,
  of images and signals, over all positions. Needs no running statistics, so clients share none.
  One group is layer normalisation (Ba, Kiros and Hinton 2016).

  Attributes:
    groups: number of groups; divides the channels.
    epsilon: keeps the root away from 0.
  """

  groups: int = 32
  epsilon: float = 1e-3

  kind = 'group_norm'

  @property
  def weight_names(self):
    return ('gamma', 'beta')

  def initialise(self, shape, generator):
    channels = shape[-1]
    return [np.ones(channels, np.float32), np.zeros(channels, np.float32)], shape

  def __call__(self, weights, x, seed=None):
    gamma, beta = weights
    channels = x.shape[-1]
    positions = int(np.prod(x.shape[1:-1]))
    grouped = tf.reshape(x, [-1, positions, self.groups, channels // self.groups])
    mean, variance = tf.nn.moments(grouped, axes=[1, 3], keepdims=True)
    # One factor and one offset per channel, so that the large x is read twice and not five times.
    per_channel = [-1, self.groups, channels // self.groups]
    factor = tf.reshape(gamma, per_channel) * tf.squeeze(
      tf.math.rsqrt(variance + self.epsilon), axis=1
    )
    offset = tf.reshape(beta, per_channel) - tf.squeeze(mean, axis=1) * factor
    everywhere = [-1, *[1] * (x.shape.rank - 2), channels]
    return x * tf.reshape(factor, everywhere) + tf.reshape(offset, everywhere)

  def _keras_layer(self, name):
    return tf.keras.layers.GroupNormalization(self.groups, epsilon=self.epsilon, name=name)


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

  @property
  def pools(self):
    return any(layer.pools for layer in self.layers.values())

  def initialise(self, shape, generator):
    weights: list[np.ndarray] = []
    for layer in self.layers.values():
      more, shape = layer.initialise(shape, generator)
      weights.extend(more)
    return weights, shape

  def __call__(self, weights, x, seed=None):
    for _, layer, part, own in self._parts(weights, seed):
      x = layer(part, x, own)
    return x

  def with_features(self, weights, x, seed=None):
    weighted = [name for name, layer in self.layers.items() if layer.weight_names]
    if not weighted:
      return super().with_features(weights, x, seed)
    features = x
    for name, layer, part, own in self._parts(weights, seed):
      if name != weighted[-1]:
        x = layer(part, x, own)
      elif isinstance(layer, Sequential):
        features, x = layer.with_features(part, x, own)
      else:
        features, x = x, layer(part, x, own)
    return features, x

  def _parts(self, weights: Weights, seed: Optional[tf.Tensor]) -> Iterator[tuple]:
    """Of each layer its name, itself, its weights and its seed."""
    parts = zip(self.layers.items(), self._split(weights))
    for index, ((name, layer), part) in enumerate(parts):
      own = None
      if layer.needs_seed and seed is not None:
        own = tf.random.experimental.stateless_fold_in(seed, index)
      yield name, layer, part, own

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


@dataclasses.dataclass(frozen=True)
class Residual(Layer):
  """y = shortcut(x) + branch(x) (He et al. 2016, "Identity mappings", eq. 1).

  Attributes:
    branch: the layers that learn the difference.
    shortcut: layers that fit x to the branch's output; none where the shapes agree.
  """

  branch: Sequential
  shortcut: Sequential

  kind = 'residual'

  @property
  def weight_names(self):
    return (
      *(f'branch/{name}' for name in self.branch.weight_names),
      *(f'shortcut/{name}' for name in self.shortcut.weight_names),
    )

  def initialise(self, shape, generator):
    branch, output_shape = self.branch.initialise(shape, generator)
    shortcut, _ = self.shortcut.initialise(shape, generator)
    return [*branch, *shortcut], output_shape

  def __call__(self, weights, x, seed=None):
    cut = len(self.branch.weight_names)
    return self.shortcut(weights[cut:], x) + self.branch(weights[:cut], x)

  def keras(self, weights, x, name):
    cut = len(self.branch.weight_names)
    shortcut = self.shortcut.keras(weights[cut:], x, f'{name}_shortcut')
    branch = self.branch.keras(weights[:cut], x, f'{name}_branch')
    return tf.keras.layers.Add(name=name)([shortcut, branch])


def image_channels(shape: Shape) -> list[Layer]:
  """The layers that give a [height, width] image its axis of channels; none if it has one."""
  return [Reshape((*shape, 1))] if len(shape) == 2 else []

"""What a layer is."""

import abc
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf

Shape = tuple[int, ...]
Weights = Sequence[Any]
"""Tensors (or arrays), in the order of the layer's `weight_names`."""

ACTIVATIONS = {
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


class Weightless(Layer):
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


class Weighted(Layer):
  """A layer whose Keras twin takes our weights, in our order."""

  @abc.abstractmethod
  def _keras_layer(self, name: str) -> Any:
    """The twin, not yet built."""

  def keras(self, weights, x, name):
    layer = self._keras_layer(name)
    y = layer(x)
    layer.set_weights([np.asarray(weight) for weight in weights])
    return y

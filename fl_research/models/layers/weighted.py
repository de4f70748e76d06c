"""Layers that treat every position of their input in the same way, with weights."""

import dataclasses
from typing import Optional

import numpy as np
import tensorflow as tf

from fl_research.models.initializers import glorot_uniform
from fl_research.models.layers import base


@dataclasses.dataclass(frozen=True)
class Dense(base.Weighted):
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
    return base.ACTIVATIONS[self.activation](tf.nn.bias_add(product, bias))

  def _keras_layer(self, name):
    return tf.keras.layers.Dense(self.units, activation=self.activation, name=name)


@tf.custom_gradient
def _rows(table: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
  """Rows of a table, with a dense gradient, which optimisers and aggregation expect."""

  def gradient(upstream):
    flat = tf.reshape(upstream, [-1, table.shape[1]])
    return tf.math.unsorted_segment_sum(flat, tf.reshape(ids, [-1]), table.shape[0]), None

  return tf.gather(table, ids), gradient


@dataclasses.dataclass(frozen=True)
class Embedding(base.Weighted):
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
class GroupNorm(base.Weighted):
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

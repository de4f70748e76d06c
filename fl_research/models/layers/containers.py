"""Layers of layers."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
import dataclasses
from typing import Optional

import numpy as np
import tensorflow as tf

from fl_research.models.layers.base import Layer, Weights


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

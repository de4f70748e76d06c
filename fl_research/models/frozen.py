"""Layers that stay as they are: constants of the program, neither trained nor sent.

A network with frozen weights is one with fewer weights. So no method, compressor or privacy
mechanism has to know of them, and bytes are counted as they are sent; that the clients once need
the constants, with the program, is not counted.
"""

from collections.abc import Sequence
import fnmatch

import numpy as np

from fl_research.models import layers
from fl_research.registry import UsageError


class Frozen(layers.Layer):
  """A network some of whose weights are constants.

  Args:
    network: the network.
    weights: all of its weights; those that are frozen keep these values.
    frozen: for each whether it is frozen.
  """

  kind = 'frozen'

  def __init__(self, network: layers.Layer, weights: Sequence[np.ndarray], frozen: Sequence[bool]):
    self._network = network
    self._weights = tuple(weights)
    self._frozen = tuple(frozen)

  @property
  def weight_names(self):
    return tuple(self.trained(self._network.weight_names))

  @property
  def needs_seed(self):
    return self._network.needs_seed

  @property
  def pools(self):
    return self._network.pools

  def trained(self, values: Sequence) -> list:
    """Of one value for each weight of the network, those of weights that are trained."""
    return [value for value, frozen in zip(values, self._frozen, strict=True) if not frozen]

  def initialise(self, shape, generator):
    _, output_shape = self._network.initialise(shape, generator)
    return self.trained(self._weights), output_shape

  def __call__(self, weights, x, seed=None):
    return self._network(self._joined(weights), x, seed)

  def with_features(self, weights, x, seed=None):
    return self._network.with_features(self._joined(weights), x, seed)

  def saved(self, weights):
    return self._network.saved(self._joined(weights))

  def keras(self, weights, x, name):
    return self._network.keras(self._joined(weights), x, name)

  def keras_model(self, weights, shape, dtype):
    return self._network.keras_model(self._joined(weights), shape, dtype)

  def _joined(self, weights: layers.Weights) -> layers.Weights:
    """All weights of the network, from those that are trained."""
    trained = iter(weights)
    pairs = zip(self._weights, self._frozen)
    return tuple(constant if frozen else next(trained) for constant, frozen in pairs)


def named(value: str, weight_names: Sequence[str]) -> tuple[bool, ...]:
  """Which weights belong to the layers that `--freeze` names.

  Args:
    value: names of layers or of blocks of layers (the beginning of their names up to a `/`),
      separated by commas, `*` and `?` standing for any characters; empty for none.
    weight_names: names of the network's weights, `<layer>/<weight>`.

  Raises:
    UsageError: there is no such layer, or none would be left to train.
  """
  patterns = value.split(',') if value else []
  inside = lambda name, pattern: any(fnmatch.fnmatchcase(part, pattern) for part in _blocks(name))
  for pattern in patterns:
    if not any(inside(name, pattern) for name in weight_names):
      layers_there = dict.fromkeys(name.rpartition('/')[0] for name in weight_names)
      raise UsageError(
        f'--freeze={value}: the model has no layer "{pattern}"; accepted are '
        f'{", ".join(layers_there)}'
      )
  return tuple(any(inside(name, pattern) for pattern in patterns) for name in weight_names)


def _blocks(name: str) -> list[str]:
  """`a/b/kernel` lies in `a` and in `a/b`."""
  parts = name.split('/')
  return ['/'.join(parts[:end]) for end in range(1, len(parts))]

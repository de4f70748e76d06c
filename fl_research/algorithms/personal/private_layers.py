"""Layers that stay with the client: which they are, and the state that holds them."""

from collections.abc import Sequence
import copy
from typing import Any

from absl import logging
import tensorflow as tf

from fl_research.registry import UsageError
from fl_research.round.local_training import Trained
from fl_research.round.method import Method, Reply
from fl_research.round.structures import subtract, Weights

LAST, ALL_BUT_LAST, NONE = 'last', 'all_but_last', 'none'
"""The words for the model's last layer with weights, for all before it, and for no layer at all."""

NORMALIZATION = 'normalization'
"""The word for all layers that normalise, which are known by the names of their weights."""

_OF_NORMALIZATION = {'gamma', 'beta', 'moving_mean', 'moving_variance'}


def layers(weight_names: Sequence[str]) -> list[str]:
  """Names of a model's layers, in order, from those of its weights, `<layer>/<weight>`."""
  return list(dict.fromkeys(name.rpartition('/')[0] for name in weight_names))


def normalizes(layer: str, weight_names: Sequence[str]) -> bool:
  """Whether a layer normalises: of whatever kind, its weights have the names that Keras has."""
  own = {name.rpartition('/')[2] for name in weight_names if name.rpartition('/')[0] == layer}
  return own <= _OF_NORMALIZATION


def is_private(flag: str, value: str, weight_names: Sequence[str]) -> tuple[bool, ...]:
  """Which weights belong to the layers that a flag names.

  Args:
    flag: the flag's name, for messages.
    value: `LAST`, `ALL_BUT_LAST`, `NORMALIZATION`, `NONE`, or names separated by commas; each names
      a layer, or a block by the beginning of its layers' names up to a `/`.
    weight_names: names of the model's weights.

  Raises:
    UsageError: the model has no layer of that name; the message lists those it has.
  """
  names = layers(weight_names)
  normalizing = [name for name in names if normalizes(name, weight_names)]
  if value == NORMALIZATION and not normalizing:
    raise UsageError(
      f'--{flag}={value}: the model has no layer that normalises; choose one that has, as with '
      '--cnn_normalization=group, --mlp_normalization=layer or --model=resnet18_gn'
    )
  words = {LAST: names[-1:], ALL_BUT_LAST: names[:-1], NORMALIZATION: normalizing, NONE: []}
  prefixes = words.get(value, value.split(','))
  inside = lambda weight, prefix: weight.startswith(f'{prefix}/')
  for prefix in prefixes:
    if not any(inside(weight, prefix) for weight in weight_names):
      raise UsageError(
        f'--{flag}={value}: the model has no layer "{prefix}"; accepted are {LAST}, '
        f'{ALL_BUT_LAST}, {NORMALIZATION}, {NONE}, or some of {", ".join(names)}'
      )
  return tuple(any(inside(weight, p) for p in prefixes) for weight in weight_names)


class PrivateLayers(Method):
  """A method whose clients keep some layers to themselves. Client state: those layers' weights.

  Clients that have never taken part have the initial weights, which the server keeps, too.

  Args:
    name: the method's name, for messages.
    private_layers: what its flag says (see `is_private`).

  Attributes:
    private: for each weight of the model whether it is the client's own; once bound.
  """

  personal = True
  global_model = False

  def __init__(self, name: str, private_layers: str):
    self._name = name
    self._private_layers = private_layers
    self.private: tuple[bool, ...] = ()

  def bind(self, federation):
    bound = copy.copy(self)
    bound.federation = federation
    flag = f'{self._name}_private_layers'
    bound.private = is_private(flag, self._private_layers, federation.model.weight_names)
    if all(bound.private):
      # A method is bound more than once.
      message = '--%s=%s: all layers; every client trains alone'
      logging.log_first_n(logging.WARNING, message, 1, flag, self._private_layers)
    return bound

  def shares(self, weight_names):
    return tuple(not private for private in self.private)

  def initial_client_state(self, weights):
    return self._part(weights, private=True)

  def message(self, server):
    return self._part(server.weights, private=False)

  def finish(self, server, combined):
    update = iter(combined.update)
    zero_or_next = lambda w, private: tf.zeros(w.shape, w.dtype) if private else next(update)
    return self.step(server, tuple(map(zero_or_next, server.weights, self.private)))

  def predictor(self, server, client):
    return self.predict(self.joined(self.message(server), client.state))

  def joined(self, shared: Sequence[Any], own: Sequence[Any]) -> Weights:
    """A whole model, from the shared weights and a client's own."""
    parts = {True: iter(own), False: iter(shared)}
    return tuple(next(parts[private]) for private in self.private)

  def reply(self, start: Weights, trained: Trained) -> Reply:
    """What a client hands back that has come from the weights `start`."""
    update = self._part(subtract(trained.weights, start), private=False)
    return Reply(tuple(update), self._part(trained.weights, private=True), trained)

  def _part(self, weights: Sequence[Any], private: bool) -> list[Any]:
    """Of a whole model, what is the client's own, or what is shared."""
    return [w for w, own in zip(weights, self.private, strict=True) if own == private]

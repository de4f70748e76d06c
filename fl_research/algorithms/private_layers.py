"""Layers that stay with the client: which they are, and the state that holds them."""

from collections.abc import Sequence
import copy
from typing import Any

from absl import logging
import tensorflow as tf

from fl_research.registry import UsageError
from fl_research.round import local_training as client_work_lib
from fl_research.round import method

LAST, NONE = 'last', 'none'
"""The words for the model's last layer with weights, and for no layer at all."""


def layers(weight_names: Sequence[str]) -> list[str]:
  """Names of a model's layers, in order, from those of its weights, `<layer>/<weight>`."""
  return list(dict.fromkeys(name.rpartition('/')[0] for name in weight_names))


def is_private(flag: str, value: str, weight_names: Sequence[str]) -> tuple[bool, ...]:
  """Which weights belong to the layers that a flag names.

  Args:
    flag: the flag's name, for messages.
    value: `LAST`, `NONE`, or names separated by commas; each names a layer, or a block by the
      beginning of its layers' names up to a `/`.
    weight_names: names of the model's weights.

  Raises:
    UsageError: the model has no layer of that name; the message lists those it has.
  """
  names = layers(weight_names)
  prefixes = {LAST: names[-1:], NONE: []}.get(value, value.split(','))
  inside = lambda weight, prefix: weight.startswith(f'{prefix}/')
  for prefix in prefixes:
    if not any(inside(weight, prefix) for weight in weight_names):
      raise UsageError(
        f'--{flag}={value}: the model has no layer "{prefix}"; accepted are {LAST}, {NONE}, or '
        f'some of {", ".join(names)}'
      )
  return tuple(any(inside(weight, p) for p in prefixes) for weight in weight_names)


class PrivateLayers(method.Algorithm):
  """A method whose clients keep some layers to themselves. Client state: those layers' weights.

  Clients that have never taken part have the initial weights, which the server keeps, too.

  Args:
    name: the method's name, for messages.
    private_layers: what its flag says (see `is_private`).
  """

  keeps_client_state = True
  has_personal_models = True

  def __init__(self, name: str, private_layers: str):
    self._name = name
    self._private_layers = private_layers
    self._private: tuple[bool, ...] = ()

  def for_model(self, model):
    resolved = copy.copy(self)
    flag = f'{self._name}_private_layers'
    resolved._private = is_private(flag, self._private_layers, model.weight_names)
    if all(resolved._private):
      logging.warning('--%s=%s: all layers; every client trains alone', flag, self._private_layers)
    return resolved

  @property
  def private(self) -> tuple[bool, ...]:
    """For each weight of the model whether it is the client's own."""
    return self._private

  def is_shared(self, weight_names):
    return tuple(not private for private in self._private)

  def initial_client_state(self, weights):
    return self.own(weights)

  def own(self, weights: Sequence[Any]) -> list[Any]:
    """Of a whole model, what is the client's own."""
    return [w for w, private in zip(weights, self._private, strict=True) if private]

  def evaluation_weights(self, weights, client_state):
    own = iter(client_state)
    return tuple(next(own) if p else w for w, p in zip(weights, self._private, strict=True))

  def result(
    self,
    start: client_work_lib.Weights,
    trained: client_work_lib.Weights,
    num_steps: tf.Tensor,
    sums: Any,
  ) -> method.ClientResult:
    """What a client hands back that has come from the weights `start` to `trained`."""
    delta = client_work_lib.subtract(trained, start)
    return method.ClientResult(delta, (), self.own(trained), num_steps, sums)

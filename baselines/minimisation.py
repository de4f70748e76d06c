"""Methods on smooth functions of a vector: full gradients, and all clients in every round.

f(w) = mean_k F_k(w), F_k a function that the client's data decide. A client has one example, its
matrix, and the model's output for that is F_k(w), so that a step of a method is one along a full
gradient, and a round is as many steps as are asked for.
"""

import collections
from collections.abc import Callable, Mapping, Sequence
import types
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import algorithms, runtime
from fl_research.datasets.federated_data import Problem
from fl_research.models import layers
from fl_research.models import model as model_lib
from fl_research.models.specification import ModelSpec
from fl_research.round import composition
from fl_research.round import process as process_lib
from fl_research.round.parts import Parts
from fl_research.training import client_states


class Minimiser(model_lib.Model):
  """A model whose output is its loss, whatever the label."""

  def example_metrics(self, output, label):
    return collections.OrderedDict(num=tf.ones_like(output), loss=output)


class Function(layers.Layer):
  """F(w) of a client's data x; subclasses have `value`.

  Args:
    start: w at first, float32 [d].
  """

  kind = 'function'

  def __init__(self, start: np.ndarray):
    self._start = np.asarray(start, np.float32)

  @property
  def weight_names(self):
    return ('w',)

  def initialise(self, shape, generator):
    return [self._start], ()

  def value(self, w: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """F(w), float32 [n], of n clients' data x, float32 [n, ...]."""
    raise NotImplementedError

  def __call__(self, weights, x, seed=None):
    return self.value(weights[0], x)

  def keras(self, weights, x, name):
    return self(weights, x)


def path(
  function: Function,
  clients: Sequence[np.ndarray],
  algorithm: str,
  *,
  rounds: int,
  local_steps: int,
  step: float,
  server_step: float = 1.0,
  hyperparameters: Mapping[str, Any] = types.MappingProxyType({}),
  arrived: Callable[[np.ndarray], bool] = lambda w: False,
) -> np.ndarray:
  """w before the first and after every round of a method, float64 [rounds + 1, d].

  Args:
    function: F.
    clients: the data of each, float32 [...], all of one shape.
    algorithm: the method's name.
    rounds: how many, at most.
    local_steps: K, of each client in a round.
    step: the rate of these.
    server_step: the server's rate.
    hyperparameters: the method's own.
    arrived: whether no more rounds are wanted, of w.
  """
  number = np.dtype(np.float32)
  # A problem whose only metric is the loss.
  spec = ModelSpec(clients[0].shape, number, (), number, Problem.RECONSTRUCTION, 1)
  sgd = tff.learning.optimizers.build_sgdm
  cohort = [_data(own, position, local_steps) for position, own in enumerate(clients)]
  with runtime.use_context('fused', chunks=1):
    process = composition.build_process(
      Parts(
        model=Minimiser(function, spec, seed=0),
        method=algorithms.build(algorithm, hyperparameters),
        client_optimizer=sgd(step),
        server_optimizer=sgd(server_step),
        client_weighting='uniform',
        population_size=len(clients),
        cohort_size=len(clients),
      )
    )
    state, kept = process.initialize(), client_states.build(process)
    points = [_point(process, state)]
    while len(points) <= rounds and not arrived(points[-1]):
      state = process.run_round(state, cohort, kept).state
      points.append(_point(process, state))
  return np.array(points)


def _point(process: process_lib.FederatedProcess, state: Any) -> np.ndarray:
  return np.asarray(process.model_weights(state)[0], np.float64)


def _data(own: np.ndarray, position: int, local_steps: int) -> Any:
  """The D of a client."""
  return collections.OrderedDict(
    examples=collections.OrderedDict(
      x=own[np.newaxis].astype(np.float32), y=np.zeros(1, np.float32)
    ),
    batches=np.zeros((local_steps, 1), np.int32),
    num_examples=np.int32(1),
    client=np.int32(position),
    seed=np.zeros(2, np.int32),
  )

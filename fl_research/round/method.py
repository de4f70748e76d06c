"""The interface of a federated optimisation method: what differs from FedAvg, and nothing else.

A method is a subclass of `Algorithm` in a file of its own. `fl_research.round.composition` wires
it, with an aggregator and optimisers, into TFF computations; the training loop, the runtimes and
the writers know no method by name.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import tensorflow as tf
import tensorflow_federated as tff

from fl_research.models import model as model_lib
from fl_research.round import local_training as client_work_lib


class Broadcast(NamedTuple):
  """What every client of the round receives.

  Attributes:
    weights: the global model.
    method: the method's own message (`Algorithm.message`); an empty tuple for most.
    learning_rate_factor: float32, the client learning-rate schedule's factor of this round.
  """

  weights: client_work_lib.Weights
  method: Any
  learning_rate_factor: tf.Tensor


class ClientResult(NamedTuple):
  """What a client hands back.

  Attributes:
    update: shaped like the weights; compressed, aggregated, and given to the server's step.
    auxiliary: other tensors the method needs averaged; an empty tuple for most. They are sent as
      float32 and counted so: compressors, attacks and rules other than the mean act on the update.
    client_state: the client's next state; an empty tuple for methods that keep none.
    num_steps: int32, optimiser steps taken.
    sums: metric columns summed over the examples visited (`client_work_lib.LocalResult`).
  """

  update: client_work_lib.Weights
  auxiliary: Any
  client_state: Any
  num_steps: tf.Tensor
  sums: Any


class Server(NamedTuple):
  """What a server step reads and renews.

  Attributes:
    weights: the global model.
    method: the method's own server state; an empty tuple for most.
    optimizer: state of the server optimiser.
  """

  weights: client_work_lib.Weights
  method: Any
  optimizer: Any


class Aggregated(NamedTuple):
  """What the server knows of a round's clients.

  Attributes:
    update: the aggregated update, shaped like the weights.
    auxiliary: the mean of the clients' `auxiliary`.
    participants: float32, number of clients whose updates were used.
    population: float32, number of clients that can be drawn; 0 where nobody has said it, which is
      never so for methods with `needs_population_size`.
  """

  update: client_work_lib.Weights
  auxiliary: Any
  participants: tf.Tensor
  population: tf.Tensor


class Algorithm:
  """One method. The defaults are those of FedAvg's server; a subclass overrides what it changes.

  All methods are TensorFlow code that is traced into TFF computations, so they must be functional.

  Attributes:
    auxiliary_weighting: 'update' to average `ClientResult.auxiliary` with the weights of the
      updates, 'uniform' to count every client once.
    keeps_client_state: whether clients carry a state from round to round.
    has_personal_models: whether clients use `evaluation_weights` rather than the global model.
    shares_update: whether anything is sent at all.
    needs_population_size: whether the server's step reads `Aggregated.population`.
  """

  auxiliary_weighting = 'uniform'
  keeps_client_state = False
  has_personal_models = False
  shares_update = True
  needs_population_size = False

  def for_model(self, model: model_lib.Model) -> 'Algorithm':
    """The method as it is for this model, by default itself; asked once, before anything else.

    Raises:
      UsageError: its hyperparameters do not fit the model; one line naming the flag.
    """
    del model
    return self

  def is_shared(self, weight_names: Sequence[str]) -> tuple[bool, ...]:
    """Which weights are shared: the updates of others never leave the client.

    Clients receive the initial values of weights that are not shared, and the server keeps them.
    """
    return (self.shares_update,) * len(weight_names)

  def initial_server_state(self, weights: client_work_lib.Weights) -> Any:
    """The method's own server state before round 1: tensors, by default none."""
    del weights
    return ()

  def initial_client_state(self, weights: client_work_lib.Weights) -> Any:
    """The state of a client that has never taken part: tensors, by default none."""
    del weights
    return ()

  def message(self, server: Server) -> Any:
    """What is broadcast besides the weights: by default the method's server state."""
    return server.method

  def client_work(
    self,
    model: model_lib.Model,
    optimizer: tff.learning.optimizers.Optimizer,
    broadcast: Broadcast,
    data: Any,
    client_state: Any,
  ) -> ClientResult:
    """One client's work of one round, from its data D (see `fl_research.client_data`)."""
    raise NotImplementedError

  def server_update(
    self,
    optimizer: tff.learning.optimizers.Optimizer,
    server: Server,
    aggregated: Aggregated,
  ) -> Server:
    """The server's step: by default the optimiser's, with the negative update as its gradient."""
    pseudo_gradient = tuple(-u for u in aggregated.update)
    state, weights = optimizer.next(server.optimizer, server.weights, pseudo_gradient)
    return server._replace(weights=weights, optimizer=state)

  def evaluation_weights(
    self, weights: client_work_lib.Weights, client_state: Optional[Any]
  ) -> client_work_lib.Weights:
    """The model a client would use: by default the global one."""
    del client_state
    return weights

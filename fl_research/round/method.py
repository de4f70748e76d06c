"""The interface of a federated optimisation method: what differs from FedAvg, and nothing else.

A method is a subclass of `Method` in a file of its own. Its round is one or more exchanges: the
server sends a message, every client works, what the clients reply is combined, the server finishes.
A method of one exchange is that exchange itself, so it overrides `message`, `work` or `finish`
directly; one that needs more trips gives them in `exchanges`. Whoever drives a round (see
`fl_research.round.composition`) calls these pieces and knows no method by name.

Where this cut differs from the obvious one: `work` gets a `Client` rather than the client's data
and state. What a client may do depends on the round (the schedule's learning rate) and on the
client (a compressor that restricts training to what it can send), which a method should neither
see nor forget; a client that brings both with it keeps FedAvg at two lines.
"""

from collections.abc import Callable, Mapping, Sequence
import copy
import dataclasses
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import hooks
from fl_research.aggregation import combiner as combiner_lib
from fl_research.datasets.federated_data import Problem
from fl_research.models import model as model_lib
from fl_research.registry import UsageError
from fl_research.round.client import Client
from fl_research.round.local_training import Trained
from fl_research.round.structures import Weights

Predictor = Callable[[tf.Tensor], tf.Tensor]
"""x [n, ...] -> the model's raw outputs."""


@dataclasses.dataclass(frozen=True)
class Federation:
  """What a method is bound to.

  Attributes:
    model: the model, whose initial weights start the run.
    server_optimizer: optimiser of the server's step.
    population_size: number of clients that can be drawn; None where nobody has said it.
    cohort_size: number of clients that are wanted in a round; None where nobody has said it.
    seed: the run's seed.
    server_data: the D of the server's own examples; None without any.
    weights: the initial weights, where they are an argument of the graph that is being built; the
      model's own, as constants, when None.
  """

  model: model_lib.Model
  server_optimizer: tff.learning.optimizers.Optimizer
  population_size: Optional[int] = None
  cohort_size: Optional[int] = None
  seed: int = 0
  server_data: Optional[Any] = None
  weights: Optional[Weights] = None

  def require_population(self, method: str) -> None:
    """Raises `ValueError` where nobody has said how many clients there are."""
    if not self.population_size:
      raise ValueError(f'{method} needs the population size, the number of clients.')

  def require_classes(self, algorithm: str, why: str) -> None:
    """Raises `UsageError` where labels are not classes, one an example; `why` is a verb of them."""
    if self.model.spec.problem is not Problem.CLASSIFICATION:
      raise UsageError(
        f'--algorithm={algorithm}: {why} classes, which this task has not; accepted are tasks with '
        'one of several classes for each example'
      )

  def require_everybody(self, algorithm: str) -> None:
    """Raises `UsageError` where rounds are known to have fewer clients than there are."""
    population, cohort = self.population_size, self.cohort_size
    if population and cohort and cohort < population:
      raise UsageError(
        f'--clients_per_round={cohort}: not with --algorithm={algorithm}, whose clients all take '
        f'part in every round; accepted is {population}, their number'
      )

  def initial_weights(self) -> Weights:
    """The initial weights as tensors of the graph that is being built."""
    if self.weights is not None:
      return self.weights
    return tuple(tf.constant(w) for w in self.model.initial_weights[0])


class Server(NamedTuple):
  """The server's state, as a method sees it.

  Attributes:
    weights: the global model; several models where a method has several.
    own: the method's own state: any structure of tensors, an empty tuple for most.
    optimizer: state of the server optimiser.
  """

  weights: Any
  own: Any
  optimizer: Any


class Reply(NamedTuple):
  """What a client hands back.

  Attributes:
    update: what is combined: any structure of float tensors, for most shaped like the weights.
    client_state: the client's next state, structured like `Method.initial_client_state`.
    trained: number of steps and metrics of the client's training; of its weights nothing is used.
    auxiliary: other float tensors whose mean the method needs. They are sent as float32 and counted
      so: compressors, attacks and rules other than the mean act on the update.
    weight: float32, what the update counts; what `--client_weighting` says when None.
    measures: float32 scalars by name, each client's; their means become columns `method/<name>`.
  """

  update: Any
  client_state: Any
  trained: Trained
  auxiliary: Any = ()
  weight: Optional[tf.Tensor] = None
  measures: Mapping[str, tf.Tensor] = {}


class Combined(NamedTuple):
  """What the server knows of a round's clients.

  Attributes:
    update: the combined update, structured like `Reply.update`, or what a `combiner` of the
      exchange's own hands over.
    auxiliary: the mean of the clients' `auxiliary`.
    participants: float32, number of clients whose updates were used.
  """

  update: Any
  auxiliary: Any
  participants: tf.Tensor


class Exchange:
  """One trip from the server to the clients and back; the defaults are FedAvg's.

  Attributes:
    combiner: how the clients' updates become one; None for the way that the run was told.
    auxiliary_weighting: 'update' to average `Reply.auxiliary` with the weights of the updates,
      'uniform' to count every client once.
  """

  combiner: Optional[combiner_lib.Combiner] = None
  auxiliary_weighting = 'uniform'

  def message(self, server: Server) -> Any:
    """What every client of the round receives: any structure; by default the global model."""
    return server.weights

  def received(self, message: Any, position: tf.Tensor) -> Any:
    """What of the message goes to the client at a position of the population; by default all.

    Where clients get parts of their own, `message` holds those of all, and a client works with, and
    is charged for, no more than its part.
    """
    del position
    return message

  def work(self, client: Client, message: Any) -> Reply:
    """One client's work, with what it has received."""
    raise NotImplementedError

  def finish(self, server: Server, combined: Combined) -> Server:
    """The server's next state."""
    raise NotImplementedError


class Method(Exchange):
  """One method. A subclass overrides what it changes.

  All of it is TensorFlow code that is traced into TFF computations, so it must be functional.

  Attributes:
    personal: whether what a client would predict (`predictor`) differs from client to client.
    global_model: of personal methods, whether the global model is of use by itself, and so is
      evaluated beside the clients' own.
    federation: what the method is bound to.
  """

  personal = False
  global_model = True
  federation: Federation

  def bind(self, federation: Federation) -> 'Method':
    """The method as it is for this federation; asked before anything else, and maybe again.

    Raises:
      UsageError: its hyperparameters do not fit the federation; one line naming the flag.
    """
    bound = copy.copy(self)
    bound.federation = federation
    return bound

  @property
  def exchanges(self) -> tuple[Exchange, ...]:
    """The round's exchanges, in order; the client's state goes from each to the next."""
    return (self,)

  def initial(self) -> Server:
    """The server's state before round 1: the model's initial weights."""
    weights = self.federation.initial_weights()
    specs = tuple(tf.TensorSpec(w.shape, w.dtype) for w in weights)
    optimizer = self.federation.server_optimizer.initialize(specs)
    return Server(weights, self.initial_own(weights), optimizer)

  def initial_own(self, weights: Weights) -> Any:
    """The method's own server state before round 1: tensors, by default none."""
    del weights
    return ()

  def initial_client_state(self, weights: Weights) -> Any:
    """The state of a client that has never taken part: tensors, by default none."""
    del weights
    return ()

  def shares(self, weight_names: Sequence[str]) -> tuple[bool, ...]:
    """For each weight of the model whether the update holds a tensor for it, in this order.

    A structured compressor restricts the training of these.
    """
    return (True,) * len(weight_names)

  def finish(self, server: Server, combined: Combined) -> Server:
    """By default the server optimiser's step along the combined update."""
    return self.step(server, combined.update)

  def step(self, server: Server, direction: Weights) -> Server:
    """The server optimiser's step, with the negative direction as its gradient."""
    hooks.require_like(
      hooks.where(self, 'step'), 'direction', direction, server.weights, 'as the weights are'
    )
    gradient = tuple(-d for d in direction)
    state, weights = self.federation.server_optimizer.next(
      server.optimizer, tuple(server.weights), gradient
    )
    return server._replace(weights=weights, optimizer=state)

  def measures(self, server: Server) -> Mapping[str, tf.Tensor]:
    """Numbers of the server's after a round, float32 by name: columns `method/<name>`."""
    del server
    return {}

  def models(self, weights: Any) -> Mapping[str, Sequence[np.ndarray]]:
    """The models to save when a run ends, by file name, from `Server.weights` as arrays.

    The first of them is what stands for the global model where there must be one.
    """
    return {'model': weights}

  def predictor(self, server: Server, client: Client) -> Predictor:
    """What a client would use: by default the global model.

    `client` has its state, and as its data the examples it trains on, by which a method may choose
    among models, adapt one, or look up neighbours.
    """
    del client
    return self.predict(server.weights)

  def predict(self, weights: Weights) -> Predictor:
    """The model with these weights, outside training."""
    model = self.federation.model
    return lambda x: model.predict_on_batch((tuple(weights), ()), x, training=False)

"""Methods whose server has several models of the same shape, one of them the run's own."""

import abc

import tensorflow as tf

from fl_research import random_streams
from fl_research.round.client import Client
from fl_research.round.method import Method, Server
from fl_research.round.structures import Weights


class SeveralModels(Method):
  """The server's weights are those of a model with one more axis in front, of M.

  The first model starts from the run's initial weights. The others start from the same numbers,
  those of each tensor in an order of its own, drawn from the run's seed: where all numbers of a
  tensor are drawn alike they are what another seed might have given. The first is saved as `model`,
  the others as `model_2`, ….

  Args:
    purpose: names the method's draws.
    count: M ≥ 1.
  """

  personal = True
  global_model = False

  def __init__(self, purpose: str, count: int):
    self._purpose = purpose
    self.count = count

  def initial(self):
    models = [self.federation.initial_weights()]
    models += [self._rearranged(models[0], number) for number in range(1, self.count)]
    weights = tuple(tf.stack(parts) for parts in zip(*models, strict=True))
    specs = tuple(tf.TensorSpec(w.shape, w.dtype) for w in weights)
    return Server(weights, (), self.federation.server_optimizer.initialize(specs))

  def _rearranged(self, weights: Weights, number: int) -> Weights:
    """The numbers of each tensor in another order."""
    seeds = [
      random_streams.stateless_seed(self.federation.seed, self._purpose, number, position)
      for position in range(len(weights))
    ]
    shuffle = tf.random.experimental.stateless_shuffle
    return tuple(
      tf.reshape(shuffle(tf.reshape(w, [-1]), seed), w.shape)
      for w, seed in zip(weights, seeds, strict=True)
    )

  def models(self, weights):
    names = ['model', *(f'model_{number + 1}' for number in range(1, self.count))]
    return {name: [w[k] for w in weights] for k, name in enumerate(names)}


class OneOfSeveral(SeveralModels):
  """Each client uses one of the models."""

  @abc.abstractmethod
  def choice(self, server: Server, client: Client) -> tf.Tensor:
    """The number of the model that a client uses, from 0 on, an integer []."""

  def predictor(self, server, client):
    return self.predict(model_of(server.weights, self.choice(server, client)))


def model_of(weights: Weights, number: tf.Tensor) -> Weights:
  """One of the models, by its number from 0 on."""
  return tuple(tf.gather(w, number) for w in weights)

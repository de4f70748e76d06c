"""MOON: features of a client's examples stay near the global model's, away from its own last ones.

Li, He, Song 2021, "Model-Contrastive Federated Learning", algorithm 1. With z the features of an
example by the model that is trained, z_glob by the global model and z_prev by the client's model of
its last round, FedAvg's clients descend

    loss + μ log(1 + exp((cos(z, z_prev) - cos(z, z_glob)) / τ)),

which is -μ log of the share of z_glob in exp(cos(z, z_glob) / τ) + exp(cos(z, z_prev) / τ). With
μ = 0 it is FedAvg. A step costs two evaluations more, of the global and of the last model; clients
keep a model.

Differences from the paper:
1. Features are what the last layer is given. The paper puts a projection of two layers in front of
   that, which is a matter of the model.
2. A client that has never taken part has the initial model as its last one, as in the code of the
   authors.
"""

import collections

import tensorflow as tf

from fl_research.algorithms import features
from fl_research.round.method import Method, Reply
from fl_research.round.objective import Loss
from fl_research.round.structures import subtract

_LEAST_SQUARE = 1e-12
"""Of a vector's length, below which it has no direction."""


def cosine(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
  """The cosine between vectors [n, d], float32 [n]; 0 where one is zero."""
  unit = lambda vectors: tf.math.l2_normalize(vectors, axis=1, epsilon=_LEAST_SQUARE)
  return tf.reduce_sum(unit(first) * unit(second), axis=1)


class MOON(Method):
  """Li et al. 2021, algorithm 1 (see the module's docstring). Client state: its last model.

  Args:
    mu: μ ≥ 0.
    tau: τ > 0.
  """

  def __init__(self, mu: float, tau: float):
    self._mu = mu
    self._tau = tau

  def bind(self, federation):
    features.dimension(federation.model, 'moon')
    return super().bind(federation)

  def initial_client_state(self, weights):
    return collections.OrderedDict(model=list(weights))

  def work(self, client, message):
    model, before = client.model, client.state['model']

    def contrast(own, batch):
      to_global = cosine(own, features.of(model, message, batch.x))
      to_before = cosine(own, features.of(model, before, batch.x))
      return self._mu * tf.nn.softplus((to_before - to_global) / self._tau)

    trained = client.train(message, objective=Loss(model, of_features=contrast))
    state = collections.OrderedDict(model=list(trained.weights))
    return Reply(subtract(trained.weights, message), state, trained)


def build(*, mu: float, tau: float) -> Method:
  """The registry's entry point; the arguments are those of `MOON`."""
  return MOON(mu, tau)

"""FedProto: clients send what their classes look like, not how they see it.

Tan, Long, Liu, Zhou, Lu, Jiang, Zhang 2022, "FedProto: Federated Prototype Learning across
Heterogeneous Clients", algorithm 1. Every client keeps a model of its own. Of the server it gets a
prototype C_j of each class, a point among features, and trains its model on

    loss + λ |z - C_y|² / d

with z the features of an example, d numbers, and y its class. Then it sends the sums of its
examples' features, class by class, and how many they are; the server's next prototypes are their
means over all clients of the round. A class that none of them has keeps its prototype; one that
nobody has ever had is in no loss. What a client uses is its own model's features, and the class of
the nearest prototype: its raw outputs are -|z - C_j|². With λ = 0 clients train alone.

Nothing is as large as a model: classes × (d + 1) numbers go up, and as many down.

Differences from the paper:
1. The paper's text has the distance between the prototypes of server and client; here it is that of
   each example's features, squared and divided by d, which is what the authors' code descends.
2. The server's prototypes are means over examples. The formula in the paper divides them by the
   number of clients once more, and the authors' code takes the mean over clients.
3. Clients' models are all of one shape here, and begin with the run's initial weights.
4. Where no class has a prototype yet all answers are equal; a class without one is answered last.
"""

import collections
import copy

import tensorflow as tf

from fl_research.algorithms import features
from fl_research.round.method import Method, Reply
from fl_research.round.objective import Loss

_LAST = 10.0
"""How far behind the farthest prototype a class is that has none."""


class FedProto(Method):
  """Tan et al. 2022, algorithm 1 (see the module's docstring). Client state: its model.

  Args:
    regularization: λ ≥ 0.

  Attributes:
    shape: of the prototypes, classes and numbers of a feature; once bound.
  """

  personal = True
  global_model = False

  def __init__(self, regularization: float):
    self._regularization = regularization
    self.shape = (0, 0)

  def bind(self, federation):
    spec = federation.model.spec
    federation.require_classes('fedproto', 'has prototypes of')
    bound = copy.copy(self)
    bound.federation = federation
    bound.shape = (spec.num_classes, features.dimension(federation.model, 'fedproto'))
    return bound

  def shares(self, weight_names):
    return (False,) * len(weight_names)

  def initial_own(self, weights):
    return collections.OrderedDict(prototypes=tf.zeros(self.shape), known=tf.zeros([self.shape[0]]))

  def initial_client_state(self, weights):
    return collections.OrderedDict(model=list(weights))

  def message(self, server):
    return server.own

  def work(self, client, message):
    drawn = features.drawn_to(message['prototypes'], message['known'], self._regularization)
    objective = Loss(client.model, of_features=drawn)
    trained = client.train(client.state['model'], objective=objective)
    return Reply(
      features.by_class(client.model, trained.weights, client.data, self.shape[0]),
      collections.OrderedDict(model=list(trained.weights)),
      trained,
      weight=tf.constant(1.0),  # Sums are divided by sums.
    )

  def finish(self, server, combined):
    total, counts = combined.update
    there = counts > 0.0
    means = tf.math.divide_no_nan(total, counts[:, tf.newaxis])
    own = collections.OrderedDict(
      prototypes=tf.where(there[:, tf.newaxis], means, server.own['prototypes']),
      known=tf.where(there, 1.0, server.own['known']),
    )
    return server._replace(own=own)

  def predictor(self, server, client):
    known = server.own['known'] > 0.0

    def predict(x):
      own = features.of(client.model, client.state['model'], x)
      away = tf.square(own[:, tf.newaxis] - server.own['prototypes'][tf.newaxis])
      scores = -tf.reduce_sum(away, axis=2)
      last = tf.reduce_min(tf.where(known, scores, 0.0), axis=1, keepdims=True) - _LAST
      return tf.where(known, scores, last)

    return predict


def build(*, regularization: float) -> Method:
  """The registry's entry point; the argument is that of `FedProto`."""
  return FedProto(regularization)

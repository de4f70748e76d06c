"""DBE: what is a client's own in the features stays in a vector of its own.

Zhang, Hua, Cao, Wang, Song, Xue, Ma, Guan 2023, "Eliminating Domain Bias for Federated Learning in
Representation Space" (NeurIPS), with FedAvg. With z the features of an example, d numbers, and g
the model's last layer, client k keeps a vector b_k, the memory of its bias, which starts at zero,
and trains model and b_k together on

    loss(g(z + b_k)) + κ |r - c|² / d,    r ← (1 - μ) r + μ (mean of the batch's z).

r starts at zero in every round, and gradients go through the batch's part of it only. c is the mean
that all have agreed on: in the first round clients train as in FedAvg, without b_k and κ, and send
the r that they end with; c is the mean of these, by the weights of the updates, and is fixed from
then on. So b_k takes up how a client's features differ from all clients', and the model need not.

The model is averaged as in FedAvg, b_k stays at the client. A client uses g(z + b_k); whoever has
never taken part has b_k = 0, which is the global model, as columns `global/…` show it. Training
metrics are those of g(z + b_k).

Round 1 is FedAvg's, whatever κ and μ are. With κ = 0 it is FedAvg with vectors b_k; with μ = 1 r
is the mean of the batch.

Differences from the paper:
1. The paper has all clients take part in finding c, before the first round. Here it is those of
   round 1, whose training also counts as FedAvg's; the authors' code throws it away.
2. The code has half of κ's term. This is the paper's mean of squares, so that its κ of 50 is 25.
3. r is sent in all rounds, d numbers up, and c with a number that says whether it is known, d + 1
   down: sizes of messages do not change from round to round.
4. b_k is trained by the client optimiser in the same steps as the model, at its rate. The code has
   plain SGD at that rate for it.
5. The paper's text was not at hand: what is said of it is from memory, of the code as read.
"""

import collections
import copy
from typing import Any

import tensorflow as tf

from fl_research.algorithms import features
from fl_research.models import model as model_lib
from fl_research.round.method import Method, Reply
from fl_research.round.objective import Loss, Objective
from fl_research.round.structures import subtract


class Biased(model_lib.Model):
  """A model that adds a vector to its features; its weights end in the vector.

  Args:
    model: the model.
    kernel: place of its last layer's kernel among its weights.
    share: how much of the vector is added, float32 [].
  """

  def __init__(self, model: model_lib.Model, kernel: int, share: Any = 1.0):
    self.__dict__.update(vars(model))
    self._kernel = kernel
    self._share = share

  def features_on_batch(self, model_weights, x, training=True, seed=None):
    *shared, bias = model_weights[0]
    own, output = self._network.with_features(
      tuple(shared), tf.convert_to_tensor(x), seed if training else None
    )
    # The last layer is linear: it answers to a sum with the sum of its answers.
    more = tf.linalg.matvec(shared[self._kernel], self._share * bias, transpose_a=True)
    return own, self._in_its_unit(output + more)

  def predict_on_batch(self, model_weights, x, training=True, seed=None):
    return self.features_on_batch(model_weights, x, training, seed)[1]


class MeanRegularized(Objective):
  """The loss and κ |r - c|² / d. It carries r.

  Args:
    model: the model.
    centre: c, float32 [d].
    strength: κ, float32 [].
    momentum: μ in (0, 1].
  """

  def __init__(self, model: model_lib.Model, centre: tf.Tensor, strength: Any, momentum: float):
    self._model = model
    self._centre = centre
    self._strength = strength
    self._momentum = momentum

  def initial_carry(self, weights):
    return tf.zeros_like(self._centre)

  def gradient(self, weights, batch, seed, carry):
    own, _ = self._model.features_on_batch((weights, ()), batch.x, True, seed)
    sums = tf.linalg.matvec(own, batch.mask, transpose_a=True)
    mean = tf.math.divide_no_nan(sums, tf.reduce_sum(batch.mask))
    running = (1.0 - self._momentum) * carry + self._momentum * mean
    # The term's slope by the batch's mean, and with it by each example's features: a sum of losses
    # that has it needs no gradient of its own.
    scale = 2.0 * self._strength * self._momentum / own.shape[1]
    slope = scale * (running - self._centre)
    along = lambda features_of_examples, _: tf.linalg.matvec(features_of_examples, slope)
    found = Loss(self._model, of_features=along).gradient(weights, batch, seed, carry)
    return found._replace(carry=running)


class DBE(Method):
  """Zhang et al. 2023 (see the module's docstring).

  Client state: b_k. Server state: c, and whether it is known, 1 or 0.

  Args:
    regularization: κ ≥ 0.
    momentum: μ in (0, 1].

  Attributes:
    dimension: d; once bound.
    kernel: place of the last layer's kernel among the weights; once bound.
  """

  personal = True
  auxiliary_weighting = 'update'

  def __init__(self, regularization: float, momentum: float):
    self._regularization = regularization
    self._momentum = momentum
    self.dimension = 0
    self.kernel = 0

  def bind(self, federation):
    bound = copy.copy(self)
    bound.federation = federation
    bound.dimension = features.dimension(federation.model, 'dbe')
    bound.kernel = features.last_kernel(federation.model, 'dbe')
    return bound

  def initial_own(self, weights):
    return collections.OrderedDict(centre=tf.zeros([self.dimension]), known=tf.constant(0.0))

  def initial_client_state(self, weights):
    return collections.OrderedDict(bias=tf.zeros([self.dimension]))

  def message(self, server):
    return collections.OrderedDict(model=server.weights, **server.own)

  def work(self, client, message):
    start, known = tuple(message['model']), message['known']
    model = Biased(client.model, self.kernel, known)
    strength = known * self._regularization
    objective = MeanRegularized(model, message['centre'], strength, self._momentum)
    trained = client.train((*start, client.state['bias']), objective=objective)
    *shared, bias = trained.weights
    return Reply(
      subtract(tuple(shared), start),
      collections.OrderedDict(bias=bias),
      trained,
      auxiliary=trained.carry,
    )

  def finish(self, server, combined):
    known = server.own['known']
    there = tf.cast(combined.participants > 0.0, tf.float32)
    own = collections.OrderedDict(
      centre=tf.where(known > 0.0, server.own['centre'], combined.auxiliary),
      known=tf.maximum(known, there),
    )
    return super().finish(server, combined)._replace(own=own)

  def predictor(self, server, client):
    model = Biased(self.federation.model, self.kernel)
    weights: Any = (*server.weights, client.state['bias'])
    return lambda x: model.predict_on_batch((weights, ()), x, training=False)


def build(*, regularization: float, momentum: float) -> Method:
  """The registry's entry point; the arguments are those of `DBE`."""
  return DBE(regularization, momentum)

"""FedFomo: clients are sent some models of others, and go towards those that do better for them.

Zhang, Sapra, Fidler, Yeung, Alvarez 2021, "Personalized Federated Learning with First Order Model
Optimization". Every client i has a model θ_i, of which the server keeps the last that was sent. A
client of a round is sent M models of others, θ_n, and with L_i the loss on examples that it has set
apart,

    w_n = max(0, (L_i(θ_i) - L_i(θ_n)) / |θ_n - θ_i|),
    θ_i = θ_i + Σ_n w_n (θ_n - θ_i) / Σ_n w_n,

after which it trains on its other examples, and sends θ_i and the w_n. The server adds the latter
up, P_in = P_in + w_n. Which models are sent is those of the largest P_in with probability 1 - ε,
and any with probability ε. Where no other model does better a client trains alone.

There is no global model; the mean of the θ_i is what is saved as one. A client receives M models a
round, and passes over what it has set apart once for each of them and once more. The server keeps a
model and N numbers for each of N clients, and so do checkpoints. It is for few clients.

Differences from the paper:
1. All that have ever sent a model can be chosen from, not those of the last round only.
2. What is compared with is the client's last model, and from there it goes. The paper compares with
   that, too, but goes from the model as it was before the training of the last round.
3. ε stays as it is; in the paper it falls. It is drawn for each client and round, not for each
   model, and whose P are alike are chosen from at random.
4. Of a client's examples every `--fedfomo_set_apart`-th is set apart, of those of the round's first
   pass; whoever has fewer examples than that sets none apart and trains alone.
5. Clients cannot be given target distributions other than their own.
"""

import collections
from typing import Any

import tensorflow as tf

from fl_research import random_streams
from fl_research.aggregation import stacked
from fl_research.algorithms.personal import kept_models
from fl_research.round import local_training, minibatches
from fl_research.round.client import Client
from fl_research.round.method import Method, Reply
from fl_research.round.structures import squared_norm, subtract, Weights

_NEVER_SENT = 1e30


def set_apart(data: Any, every: int) -> tuple[Any, Any]:
  """A client's D without every n-th of its examples, and one of these alone, each of them once."""
  first = minibatches.first_pass(data)
  rows = tf.sort(tf.reshape(first['batches'], [-1]))
  rows = rows[tf.searchsorted(rows, [0])[0] :]
  batches = data['batches']
  place = tf.searchsorted(rows, tf.reshape(batches, [-1]))
  apart = tf.equal(tf.reshape(place, tf.shape(batches)) % every, every - 1)
  apart_of_first = apart[: tf.shape(first['batches'])[0]]
  others = _only(data, batches, tf.logical_not(apart))
  return others, _only(data, first['batches'], apart_of_first)


def _only(data: Any, batches: tf.Tensor, kept: tf.Tensor) -> Any:
  """D with only some of its batches' places; empty batches come last."""
  batches = tf.where(kept, batches, -1)
  empty = tf.reduce_all(batches < 0, axis=1)
  order = tf.argsort(tf.cast(empty, tf.int32), stable=True)
  return collections.OrderedDict(data, batches=tf.gather(batches, order))


class FedFomo(kept_models.KeptModels):
  """Zhang et al. 2021 (see the module's docstring).

  Client state: θ_i. Server state: all θ_i, P, who has sent any, and how many rounds have been.

  Args:
    models: M ≥ 1, how many are sent to a client; all others where they are fewer.
    exploration: ε, from 0 to 1.
    set_apart: of how many examples one is set apart, at least 2.
  """

  def __init__(self, models: int, exploration: float, set_apart: int):
    self._models = models
    self._exploration = exploration
    self._set_apart = set_apart

  def initial_own(self, weights):
    count = self.num_clients
    return collections.OrderedDict(
      models=self.initial_models(weights),
      preferences=tf.zeros([count, count]),
      known=tf.zeros([count]),
      rounds=tf.constant(0),
    )

  def message(self, server):
    return server.own['models'], self._chosen(server.own)

  def received(self, message, position):
    models, chosen = message
    others = tf.gather(chosen, position)
    return [tf.gather(rows, others) for rows in models], others

  def work(self, client, message):
    models, others = message
    training, apart = set_apart(client.data, self._set_apart)
    weights, start = _towards(client, models, apart)
    trained = client.train(start, data=training)
    update = (trained.weights, tf.cast(others, tf.float32), weights)
    used = tf.reduce_sum(tf.cast(weights > 0.0, tf.float32))
    return Reply(update, list(trained.weights), trained, measures={'models_used': used})

  def finish(self, server, combined):
    (models, others, weights), _, who = combined.update
    rows = who[:, tf.newaxis]
    pairs = tf.stack([tf.broadcast_to(rows, tf.shape(others)), tf.cast(others, tf.int32)], axis=2)
    before = server.own
    kept = kept_models.renewed(before['models'], who, models)
    own = collections.OrderedDict(
      models=kept,
      preferences=tf.tensor_scatter_nd_add(before['preferences'], pairs, weights),
      known=tf.tensor_scatter_nd_update(before['known'], rows, tf.ones_like(who, tf.float32)),
      rounds=before['rounds'] + 1,
    )
    return server._replace(own=own, weights=kept_models.mean(kept, server.weights))

  def _chosen(self, own: Any) -> tf.Tensor:
    """Whose models each client would be sent: int32 [N, M]."""
    count = self.num_clients
    stream = random_streams.generator(self.federation.seed, 'fedfomo')
    seed = tf.stack([tf.constant(int(stream.integers(1 << 31)), tf.int32), own['rounds']])
    drawn = tf.random.stateless_uniform([count, count + 1], seed)
    explores = drawn[:, count:] < self._exploration
    last = tf.where(explores, 0.0, -own['preferences']) + _NEVER_SENT * (1.0 - own['known'])
    last = tf.linalg.set_diag(last, tf.fill([count], float('inf')))
    # A stable sort of what is in random order leaves equals in random order.
    shuffled = tf.argsort(drawn[:, :count], axis=1)
    order = tf.argsort(tf.gather(last, shuffled, batch_dims=1), axis=1, stable=True)
    return tf.gather(shuffled, order, batch_dims=1)[:, : min(self._models, max(count - 1, 1))]


def _towards(client: Client, models: list[tf.Tensor], apart: Any) -> tuple[tf.Tensor, Weights]:
  """w_n, float32 [M], and the model that a client goes to."""
  own = tuple(client.state)
  loss = lambda weights: local_training.mean_loss(client.model, tuple(weights), apart)
  before = loss(own)

  def weight(other):
    length = tf.sqrt(squared_norm(subtract(tuple(other), own)))
    return tf.maximum(tf.math.divide_no_nan(before - loss(other), length), 0.0)

  weights = tf.map_fn(weight, models, fn_output_signature=tf.float32, parallel_iterations=1)
  shares = tf.math.divide_no_nan(weights, tf.reduce_sum(weights))
  moves = stacked.weighted_sum(subtract(tuple(models), own), shares)
  return weights, tuple(w + m for w, m in zip(own, moves, strict=True))


def build(*, models: int, exploration: float, set_apart: int) -> Method:
  """The registry's entry point; the arguments are those of `FedFomo`."""
  return FedFomo(models, exploration, set_apart)

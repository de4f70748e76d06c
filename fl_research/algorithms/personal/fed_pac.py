"""FedPAC: features drawn to common centroids, and heads mixed for each client from those of others.

Xu, Tong, Huang 2023, "Personalized Federated Learning with Feature Alignment and Classifier
Collaboration", algorithm 1. A model is features θ under a head φ, its last layer. A client of a
round is given θ, a head φ_i that was mixed for it and a centroid c_k of each class, and

    says of its examples' features z under θ, p_k being the share of class k and μ_k its mean,
        h_i = (p_k μ_k)_k   and   V_i = (mean |z|² - Σ_k |p_k μ_k|²) / n_i;
    trains φ_i with θ held fixed, for `--fedpac_head_epochs` passes, and then θ with φ_i held fixed,
        on loss + λ |z - c_y|² / d, with d the length of z;
    sends θ's delta, φ_i, h_i, V_i, and of each class the sum and number of its features.

The server averages θ as FedAvg does, takes as c_k the mean over all examples of class k, and finds
for every client of the round what mixture of their heads would err least on it,

    α_i = argmin Σ_j α_ij² V_j + |Σ_j α_ij (h_i - h_j)|²,   α_ij ≥ 0,  Σ_j α_ij = 1;
    φ_i = Σ_j α_ij φ_j.

A class that none of them has keeps its centroid; one that nobody has ever had draws nothing. What a
client uses is θ under its φ_i; whoever has not taken part has the initial head. With λ = 0, and
whoever is alone in each round, it is FedRep.

The server keeps a head for each of N clients, and so do checkpoints.

Differences from the paper:
1. The centroids are means over examples, as in the paper's formula.
2. The term of the centroids is divided by d, as the authors' code does.
3. Mixed heads wait at the server for their clients. The code has them sent at once.
4. The code sets α_ij below 0.001 to zero and does without mixing where rounding has made the
   quadratic form indefinite; here α is found in float64 and used as it is.
5. V and h are of the examples of the round's first pass.
"""

import collections
import copy
from typing import Any

import tensorflow as tf

from fl_research.aggregation import side_by_side, simplex, stacked
from fl_research.algorithms import features
from fl_research.algorithms.personal import private_layers
from fl_research.round import minibatches
from fl_research.round.client import Client
from fl_research.round.method import Method, Reply
from fl_research.round.objective import Loss
from fl_research.round.structures import subtract


class FedPAC(private_layers.PrivateLayers):
  """Xu et al. 2023, algorithm 1 (see the module's docstring).

  Server state: every client's head, the centroids, and which classes have one.

  Args:
    regularization: λ ≥ 0.
    head_epochs: passes that train the head, at least 1.

  Attributes:
    shape: of the centroids, classes and numbers of a feature; once bound.
  """

  combiner = side_by_side.SideBySide()

  def __init__(self, regularization: float, head_epochs: int):
    super().__init__('fedpac', private_layers.LAST)
    self._regularization = regularization
    self._head_epochs = head_epochs
    self.shape = (0, 0)

  def bind(self, federation):
    spec = federation.model.spec
    federation.require_classes('fedpac', 'has centroids of')
    federation.require_population('FedPAC')
    bound = copy.copy(super().bind(federation))
    bound.shape = (spec.num_classes, features.dimension(federation.model, 'fedpac'))
    return bound

  def initial_client_state(self, weights):
    return ()

  def initial_own(self, weights):
    count = self.federation.population_size or 0
    head = self._part(weights, private=True)
    return collections.OrderedDict(
      heads=[tf.repeat(w[tf.newaxis], count, axis=0) for w in head],
      centroids=tf.zeros(self.shape),
      known=tf.zeros([self.shape[0]]),
    )

  def message(self, server):
    return collections.OrderedDict(server.own, body=self._part(server.weights, private=False))

  def received(self, message, position):
    return collections.OrderedDict(message, heads=_rows(message['heads'], position))

  def work(self, client, message):
    body, head = message['body'], message['heads']
    start = self.joined(body, head)
    told = self._statistics(client, start)
    drawn = features.drawn_to(message['centroids'], message['known'], self._regularization)
    objective = Loss(client.model, of_features=drawn)
    heads = client.train(start, trainable=self.private, passes=self._head_epochs)
    shared = tuple(not private for private in self.private)
    trained = client.train(heads.weights, objective=objective, trainable=shared)
    sums, counts = features.by_class(client.model, trained.weights, client.data, self.shape[0])
    return Reply(
      collections.OrderedDict(
        body=subtract(tuple(self._part(trained.weights, private=False)), tuple(body)),
        head=self._part(trained.weights, private=True),
        told=told,
        sums=sums,
        counts=counts,
      ),
      client.state,
      trained._replace(num_steps=heads.num_steps + trained.num_steps),
    )

  def finish(self, server, combined):
    beside, own = combined.update, server.own
    sent = beside.update
    shares = beside.weight / tf.reduce_sum(beside.weight)
    mixtures = tf.cast(_mixtures(**sent['told']), tf.float32)
    mixed = [tf.tensordot(mixtures, head, axes=1) for head in sent['head']]
    counts = tf.reduce_sum(sent['counts'], axis=0)
    there = counts > 0.0
    means = tf.math.divide_no_nan(tf.reduce_sum(sent['sums'], axis=0), counts[:, tf.newaxis])
    rows = beside.client[:, tf.newaxis]
    server = server._replace(
      own=collections.OrderedDict(
        heads=[
          tf.tensor_scatter_nd_update(heads, rows, new)
          for heads, new in zip(own['heads'], mixed, strict=True)
        ],
        centroids=tf.where(there[:, tf.newaxis], means, own['centroids']),
        known=tf.where(there, 1.0, own['known']),
      )
    )
    direction = stacked.weighted_sum(tuple(sent['body']), shares)
    return super().finish(server, combined._replace(update=direction))

  def predictor(self, server, client):
    head = _rows(server.own['heads'], client.data['client'])
    return self.predict(self.joined(self._part(server.weights, private=False), head))

  def _statistics(self, client: Client, weights: Any) -> collections.OrderedDict:
    """h_i, float32 [C, d], and V_i, float32 []."""
    sums, counts = features.by_class(client.model, weights, client.data, self.shape[0])
    x, _, mask = minibatches.examples(client.data)
    own = features.of(client.model, weights, x)  # As in the sums: TensorFlow computes it once.
    squares = tf.reduce_sum(mask[:, tf.newaxis] * tf.square(own))
    number = tf.maximum(tf.reduce_sum(counts), 1.0)
    means = sums / number  # p_k μ_k, the shares of the classes being in it.
    variance = squares / number - tf.reduce_sum(tf.square(means))
    return collections.OrderedDict(means=means, variance=variance / number)


def _rows(heads: Any, position: tf.Tensor) -> list[tf.Tensor]:
  return [tf.gather(rows, position) for rows in heads]


def _mixtures(means: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
  """α, float64 [n, n], a row for each client, from h [n, C, d] and V [n]."""
  h = tf.reshape(tf.cast(means, tf.float64), [tf.shape(means)[0], -1])
  noise = tf.linalg.diag(tf.maximum(tf.cast(variance, tf.float64), 0.0))
  low, high = tf.zeros_like(noise[0]), tf.ones_like(noise[0])

  def mixture(inputs):
    own, alone = inputs
    away = own - h
    return simplex.minimise(tf.matmul(away, away, transpose_b=True) + noise, alone, low, high)

  alone = tf.eye(tf.shape(h)[0], dtype=tf.float64)
  return tf.map_fn(mixture, (h, alone), fn_output_signature=tf.float64, parallel_iterations=1)


def build(*, regularization: float, head_epochs: int) -> Method:
  """The registry's entry point; the arguments are those of `FedPAC`."""
  return FedPAC(regularization, head_epochs)

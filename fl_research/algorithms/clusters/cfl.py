"""Clustered federated learning: a cluster whose clients pull apart is split in two.

Sattler, Müller, Samek 2021, "Clustered Federated Learning: Model-Agnostic Distributed Multitask
Optimization under Privacy Constraints", algorithms 1, 4 and 5. All clients are one cluster at
first. In a round each trains the model of its cluster c, and sends its delta Δ_i. Where

    |mean_{i in c} Δ_i| < ε_1   and   max_{i in c} |Δ_i| > ε_2,

the cluster's model hardly moves though clients would have it move far: they disagree. Then c is
parted into the two whose clients are least alike, by the cosine α_ij of the angle between deltas:

    c_1, c_2 = argmin max_{i in c_1, j in c_2} α_ij.

The new clusters begin from the same model. Then θ_c = θ_c + η_s mean_{i in c} Δ_i in every cluster.
A client uses the model of its cluster.

`--cfl_mean_norm` is ε_1, `--cfl_max_norm` ε_2; deltas grow with rates and steps, and so should
both. To choose them by, `metrics.csv` has the least of the clusters' means of the last round, as
`mean_norm`, and the longest delta, as `max_norm`, besides the number of clusters, and the share of
the clients in each. The first cluster's model is saved as `model`, the others' as `model_2`, ….
With one cluster it is FedAvg.

The best split is found by the weakest links: β_ij is the least of the α on the best path from i to
j, and those whose β to the cluster's first client is the least of all β are parted from it.

Differences from the paper:
1. Number of clusters: here there is a largest, `--cfl_max_clusters`, as models are kept, and sent,
   for all of them. Every client is sent all models and everybody's cluster, which is counted in the
   bytes; the paper's client gets one model.
2. All clients take part in every round, as in the paper: fewer are refused where it is known how
   many there are. Clients that fail to take part in the round of a split stay where they are, with
   the part of the cluster's first client that did, and are in later splits.
3. The paper's third condition, by how much clients of one kind differ, is not here, nor is it in
   the authors' code, which has two others: no split of less than three clients, nor early ones.
4. The code parts clients by complete linkage; here it is the best split, as in algorithm 1.
5. Deltas of a split's round go to the new clusters, as in the code.
6. A client that is new after training is not led down the tree of splits.
"""

import collections
from typing import NamedTuple

import tensorflow as tf

from fl_research.aggregation import side_by_side, stacked
from fl_research.algorithms.clusters import several_models
from fl_research.algorithms.clusters.several_models import model_of
from fl_research.round.method import Method, Reply
from fl_research.round.structures import subtract, Weights


class _Clusters(NamedTuple):
  """Who is where: of every client its cluster, int32 [population]; how many there are, int32 []."""

  cluster_of: tf.Tensor
  count: tf.Tensor


class CFL(several_models.OneOfSeveral):
  """Sattler et al. 2021 (see the module's docstring).

  Server state: the cluster of every client, how many there are, and what is measured.

  Args:
    max_clusters: how many clusters there may be, ≥ 1.
    mean_norm: ε_1 ≥ 0.
    max_norm: ε_2 ≥ 0.

  Raises:
    UsageError: not all clients take part in a round.
  """

  combiner = side_by_side.SideBySide()

  def __init__(self, max_clusters: int, mean_norm: float, max_norm: float):
    super().__init__('cfl', max_clusters)
    self._mean_norm = mean_norm
    self._max_norm = max_norm

  def bind(self, federation):
    federation.require_population('CFL')
    federation.require_everybody('cfl')
    return super().bind(federation)

  def initial(self):
    everywhere = tuple(tf.stack([w] * self.count) for w in self.federation.initial_weights())
    own = collections.OrderedDict(
      cluster_of=tf.zeros([self.federation.population_size], tf.int32),
      count=tf.constant(1),
      mean_norm=tf.constant(0.0),
      max_norm=tf.constant(0.0),
    )
    return super().initial()._replace(weights=everywhere, own=own)

  def message(self, server):
    return collections.OrderedDict(models=list(server.weights), cluster_of=server.own['cluster_of'])

  def work(self, client, message):
    cluster = tf.gather(message['cluster_of'], client.data['client'])
    model = model_of(tuple(message['models']), cluster)
    trained = client.train(model)
    chosen = tf.one_hot(cluster, self.count)
    measures = {f'share_{number + 1}': chosen[number] for number in range(self.count)}
    return Reply(subtract(trained.weights, model), client.state, trained, measures=measures)

  def finish(self, server, combined):
    deltas, weight, client = combined.update
    clusters, weights = _Clusters(server.own['cluster_of'], server.own['count']), server.weights
    # One that a split has made is not split in the same round.
    is_old = [number < clusters.count for number in range(self.count)]
    for number in range(self.count - 1):
      member = tf.equal(tf.gather(clusters.cluster_of, client), number)
      parted = self._parted(deltas, weight, member)
      parted &= is_old[number] & (clusters.count < self.count)
      clusters, weights = _split(clusters, weights, number, tf.boolean_mask(client, parted))
    chosen = tf.one_hot(tf.gather(clusters.cluster_of, client), self.count)
    shares = chosen * weight[:, tf.newaxis]
    shares = tf.math.divide_no_nan(shares, tf.reduce_sum(shares, axis=0))
    means = tuple(tf.tensordot(shares, d, axes=[[0], [0]]) for d in deltas)
    is_there = tf.reduce_any(chosen > 0.0, axis=0)
    own = collections.OrderedDict(
      clusters._asdict(),
      mean_norm=tf.reduce_min(tf.where(is_there, _norms(means), float('inf'))),
      max_norm=tf.reduce_max(_norms(deltas)),
    )
    return self.step(server._replace(weights=weights, own=own), means)

  def measures(self, server):
    return collections.OrderedDict(
      clusters=tf.cast(server.own['count'], tf.float32),
      mean_norm=server.own['mean_norm'],
      max_norm=server.own['max_norm'],
    )

  def choice(self, server, client):
    return tf.gather(server.own['cluster_of'], client.data['client'])

  def _parted(self, deltas: Weights, weight: tf.Tensor, member: tf.Tensor) -> tf.Tensor:
    """Which of a cluster's members leave it: bool [n], like `member`; none where they agree."""
    shares = tf.where(member, weight, 0.0)
    shares = tf.math.divide_no_nan(shares, tf.reduce_sum(shares))
    mean_norm = tf.linalg.global_norm(stacked.weighted_sum(deltas, shares))
    longest = tf.reduce_max(tf.where(member, _norms(deltas), 0.0))
    several = tf.math.count_nonzero(member) > 1
    disagree = several & (mean_norm < self._mean_norm) & (longest > self._max_norm)

    def part():
      gram = stacked.gram(deltas)
      norms = tf.sqrt(tf.linalg.diag_part(gram))
      return bipartition(tf.math.divide_no_nan(gram, norms[:, tf.newaxis] * norms), member)

    return tf.cond(disagree, part, lambda: tf.zeros_like(member))


def _norms(rows: Weights) -> tf.Tensor:
  """Of several deltas side by side how long each is, float32 [n]."""
  of_one = lambda r: tf.reduce_sum(tf.square(r), axis=list(range(1, len(r.shape))))
  return tf.sqrt(tf.add_n([of_one(r) for r in rows]))


def bipartition(similarity: tf.Tensor, member: tf.Tensor) -> tf.Tensor:
  """The split of some clients whose parts are least alike, by their two most similar clients.

  Args:
    similarity: of all clients, float64 [n, n], symmetric.
    member: whom to split, bool [n], two or more.

  Returns:
    Those that are parted from the first member, bool [n]; at least one.
  """
  pairs = member[:, tf.newaxis] & member
  infinity = tf.constant(float('inf'), similarity.dtype)
  links = tf.where(pairs, similarity, -infinity)

  def through(middle, best):
    return middle + 1, tf.maximum(best, tf.minimum(best[:, middle, tf.newaxis], best[middle]))

  count = tf.shape(links)[0]
  _, best = tf.while_loop(lambda middle, _: middle < count, through, (tf.constant(0), links))
  first = tf.argmax(tf.cast(member, tf.int32))
  others = member & tf.not_equal(tf.range(tf.cast(count, tf.int64)), first)
  apart = pairs & ~tf.eye(count, dtype=tf.bool)
  weakest = tf.reduce_min(tf.where(apart, best, infinity))
  return others & (best[first] <= weakest)


def _split(clusters: _Clusters, weights: Weights, number: int, leaving: tf.Tensor):
  """The clusters, and their models, after those who leave one have founded another."""
  new = clusters.count
  rows = tf.fill([tf.size(leaving)], new)
  cluster_of = tf.tensor_scatter_nd_update(clusters.cluster_of, leaving[:, tf.newaxis], rows)
  is_split = tf.size(leaving) > 0
  is_new = tf.equal(tf.range(tf.shape(weights[0])[0]), new) & is_split
  copied = tuple(
    tf.where(tf.reshape(is_new, [-1] + [1] * (len(w.shape) - 1)), w[number], w) for w in weights
  )
  return _Clusters(cluster_of, new + tf.cast(is_split, tf.int32)), copied


def build(*, max_clusters: int, mean_norm: float, max_norm: float) -> Method:
  """The registry's entry point; the arguments are those of `CFL`."""
  return CFL(max_clusters, mean_norm, max_norm)

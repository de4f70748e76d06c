"""K-means in one round: clients cluster their own points, the server clusters their centres.

Dennis, Li, Smith 2021, "Heterogeneity for the Win: One-Shot Federated Clustering", algorithms 1 and
2; the clients' part is that of Awasthi and Sheffet 2012, "Improved Spectral-Norm Bounds for
Clustering". Client k with points A (n rows) and k' ≤ n centres of its own:

    Â ← A projected onto its first k' right singular vectors
    ν ← k centres of Â by an approximation: k-means++ (Arthur and Vassilvitskii 2007)
    S_r ← {i: |Â_i - ν_r| ≤ |Â_i - ν_s| / 3 for all s ≠ r},    θ_r ← mean of A over S_r
    Lloyd's steps on A from θ until nobody changes clusters;    send θ

Server, θ being all that came, client by client:

    M ← the centres of the first client (at most K of them)
    while |M| < K:  M ← M ∪ {the θ farthest from its nearest in M}
    τ_r ← the θ nearest to M_r;    centre r ← mean of τ_r           (one step of Lloyd's)

It is made for clients who have points of few of the K clusters each, k' ≤ √K: then the farthest
centres are of clusters not seen before. A client sends k' (d + 1) numbers, once.

Columns as of kmeans: `train_set/inertia`, `eval/inertia`, `…/purity`; empty in row 0, before the
only round; `kfed/local_centres`, how many centres came. kfed.csv: a row per centre, `local_centres`
being how many of the clients' it is the mean of.

Differences from the paper:
1. Any 10-approximation may begin; k-means++ is one in expectation up to a factor of log k'.
2. A centre for which S_r is empty stays where k-means++ chose its point, where the paper's analysis
   does not meet the case.
3. A client with fewer points than k' sends as many centres as it has points, and one whose centre
   has lost all points sends the others only.
4. Every client has the same k'; the paper's k'_z may differ.
5. Inertia and purity are of the nearest of the K centres; in the paper a point belongs to the one
   to which its client's centre belongs.
"""

import collections
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import random_streams
from fl_research.aggregation import stacking
from fl_research.analytics import points
from fl_research.analytics.analysis import Analysis, Setup
from fl_research.registry import UsageError


class State(NamedTuple):
  """What the server has: the centres, int64 [K] how many local ones each is the mean of."""

  centres: np.ndarray
  sizes: np.ndarray


def squared_distances(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
  """|a_i - b_j|², [n, m] for a [n, d] and b [m, d]."""
  products = tf.linalg.matmul(a, b, transpose_b=True)
  lengths = tf.reduce_sum(a**2, axis=1)[:, tf.newaxis] + tf.reduce_sum(b**2, axis=1)
  return tf.maximum(lengths - 2.0 * products, 0.0)


def projected(data: tf.Tensor, rank: int) -> tf.Tensor:
  """Points [n, d] projected onto their first `rank` right singular vectors."""
  _, _, v = tf.linalg.svd(data)
  own = v[:, :rank]
  plane = tf.linalg.matmul(tf.linalg.matmul(data, own), own, transpose_b=True)
  return tf.ensure_shape(plane, data.shape)  # Of which the decomposition forgets d.


def plus_plus(data: tf.Tensor, chances: tf.Tensor) -> tf.Tensor:
  """k-means++: rows of `data` that begin, each by its squared distance from those before.

  Args:
    data: [n, d].
    chances: [k] numbers in [0, 1), the draws.

  Returns:
    int32 [k], the rows' numbers; where all points are chosen, some again.
  """
  count = tf.shape(data)[0]
  first = tf.cast(chances[0] * tf.cast(count, tf.float32), tf.int32)
  chosen = [tf.minimum(first, count - 1)]
  for chance in tf.unstack(chances)[1:]:
    near = tf.reduce_min(squared_distances(data, tf.gather(data, tf.stack(chosen))), axis=1)
    ends = tf.cumsum(near)
    row = tf.searchsorted(ends, [chance * ends[-1]], side='right')[0]
    chosen.append(tf.minimum(row, count - 1))
  return tf.stack(chosen)


def means(data: tf.Tensor, belongs: tf.Tensor, otherwise: tf.Tensor) -> tf.Tensor:
  """The mean of each group of rows, [k, d]; of an empty one what it would be otherwise.

  Args:
    data: [n, d].
    belongs: float [n, k], 1 where a row belongs to a group.
    otherwise: [k, d].
  """
  sizes = tf.reduce_sum(belongs, axis=0)[:, tf.newaxis]
  sums = tf.linalg.matmul(belongs, data, transpose_a=True)
  return tf.where(sizes > 0, tf.math.divide_no_nan(sums, sizes), otherwise)


def lloyd(data: tf.Tensor, centres: tf.Tensor, steps: int) -> tuple[tf.Tensor, tf.Tensor]:
  """Lloyd's steps until nobody changes clusters; the centres [k, d], int32 [k] their sizes."""
  clusters = centres.shape[0]
  assigned = lambda c: tf.argmin(squared_distances(data, c), axis=1, output_type=tf.int32)

  def body(step, c, before, changed):
    del changed
    c = means(data, tf.one_hot(before, clusters), c)
    now = assigned(c)
    return step + 1, c, now, tf.reduce_any(tf.not_equal(now, before))

  state = (0, centres, assigned(centres), True)
  goes_on = lambda step, c, before, changed: changed & (step < steps)
  _, centres, last, _ = tf.while_loop(goes_on, body, state)
  return centres, tf.reduce_sum(tf.one_hot(last, clusters, dtype=tf.int32), axis=0)


def local_clustering(
  data: tf.Tensor, chances: tf.Tensor, steps: int
) -> tuple[tf.Tensor, tf.Tensor]:
  """Algorithm 1: a client's centres [k', d], and int32 [k'] how many of its points each has.

  Args:
    data: its points, float32 [n, d].
    chances: float32 [k'] numbers in [0, 1), drawn for it.
    steps: at most so many of Lloyd's.
  """
  plane = projected(data, chances.shape[0])
  start = plus_plus(plane, chances)
  distances = tf.sqrt(squared_distances(plane, tf.gather(plane, start)))
  others = distances[:, tf.newaxis, :] + tf.linalg.diag(tf.fill(chances.shape, np.inf))
  near = distances <= tf.reduce_min(others, axis=2) / 3.0
  centres = means(data, tf.cast(near, tf.float32), tf.gather(data, start))
  return lloyd(data, centres, steps)


def clustered(local: np.ndarray, first: int, clusters: int) -> State:
  """Algorithm 2: what the server makes of the clients' centres.

  Args:
    local: the centres that came, [m, d], client by client, m ≥ K.
    first: how many of them are the first client's.
    clusters: K.
  """
  chosen = list(range(min(first, clusters)))
  _, distances = points.nearest(local, local[chosen])
  while len(chosen) < clusters:
    farthest = int(distances.argmax())
    chosen.append(farthest)
    distances = np.minimum(distances, ((local - local[farthest]).astype(np.float64) ** 2).sum(1))
  nearest, _ = points.nearest(local, local[chosen])
  sizes = np.bincount(nearest, minlength=clusters)
  sums = np.zeros((clusters, local.shape[1]))
  np.add.at(sums, nearest, local)
  means_of = sums / np.maximum(sizes, 1)[:, np.newaxis]
  return State(np.where(sizes[:, np.newaxis] > 0, means_of, local[chosen]), sizes)


class KFed(Analysis[State]):
  """Clients' centres side by side, and the server's clustering of them.

  Args:
    setup: whose data.
    clusters: K.
    local_clusters: k'.
    local_steps: at most so many of Lloyd's steps at a client.
  """

  def __init__(self, setup: Setup, clusters: int, local_clusters: int, local_steps: int):
    self._data, self._seed = setup.data, setup.settings.seed
    self._clusters, self._local = clusters, local_clusters
    self._check(setup.data.cohort_size * local_clusters)
    self._dimension = points.dimension(setup.settings, setup.data)
    self._collect = _collecting(self._dimension, local_clusters, local_steps)
    self._judge = points.Judge(setup.data)
    self.numbers_up = local_clusters * (self._dimension + 1)
    self.numbers_down = 0

  def initial(self):
    empty = np.full((self._clusters, self._dimension), np.nan)
    return State(empty, np.zeros(self._clusters, np.int64))

  def step(self, state, round_num, cohort):
    del state
    clients = [
      {
        'points': points.vectors(examples),
        'chances': self._chances(int(client), round_num),
        'client': np.int32(client),
      }
      for client, examples in zip(cohort, self._data.train.examples_of(cohort))
    ]
    sent = self._collect(clients)
    order = np.argsort(np.asarray(sent['client']))
    sizes = np.asarray(sent['sizes'])[order]
    local = np.asarray(sent['centres'])[order][sizes > 0]
    self._check(len(local))
    return clustered(local, int(np.count_nonzero(sizes[0])), self._clusters)

  def _check(self, sent: int) -> None:
    if sent < self._clusters:
      raise UsageError(
        f'--kfed_clusters={self._clusters}: the clients send {sent} centres in all; raise '
        '--kfed_local_clusters or --clients_per_round'
      )

  def _chances(self, client: int, round_num: int) -> np.ndarray:
    generator = random_streams.generator(self._seed, 'k-FED start', round_num, client)
    return generator.random(self._local, np.float32)

  def measures(self, state):
    measured = self._judge.measures(state.centres)
    if not state.sizes.any():
      measured = dict.fromkeys(measured)
    return {**measured, 'kfed/local_centres': int(state.sizes.sum())}

  def table(self, state):
    return points.rows_of_centres(state.centres, state.sizes, 'local_centres')


def _collecting(dimension: int, clusters: int, steps: int):
  """The computation that brings every client's centres, their sizes and its index to the server."""
  points_type = tff.TensorType(np.float32, (None, dimension))
  chances_type = tff.TensorType(np.float32, (clusters,))
  client_type = tff.to_type(
    collections.OrderedDict(points=points_type, chances=chances_type, client=np.int32)
  )

  @tff.tensorflow.computation(client_type)
  def work(client):
    centres, sizes = local_clustering(client['points'], client['chances'], steps)
    return collections.OrderedDict(centres=centres, sizes=sizes, client=client['client'])

  @tff.federated_computation(tff.FederatedType(client_type, tff.CLIENTS))
  def collect(clients):
    return stacking.stack_at_server(tff.federated_map(work, clients))

  return collect


def build(setup: Setup, clusters: int, local_clusters: int, local_steps: int) -> KFed:
  return KFed(setup, clusters, local_clusters, local_steps)

"""K-means by rounds, the centres being means of all points that were nearest to them.

Sculley 2010, "Web-Scale K-Means Clustering", algorithm 1, in the federated form of TFF's
`tff.learning.algorithms.build_fed_kmeans`, which does all the work here. With K centres c_j of
weight w_j, the points x of cohort S being one mini-batch,

    w_j ← 1                                                      at the start
    n_j = Σ_{k ∈ S} |{x of k nearest to c_j}|,    s_j = Σ of these x     at the clients
    c_j ← (w_j c_j + s_j) / (w_j + n_j),    w_j ← w_j + n_j      at the server

so that a centre is the mean of its start and of every point that was ever nearest to it. With
`--secure_aggregation` the server learns the sums s and n alone; `--secure_sum_bound` cuts them.

`--kmeans_start=examples` begins at K examples that are drawn from all clients', each as likely as
any other; whose they are, the server need not know, but it sees them. `normal` is TFF's own start.

Columns: `train_set/inertia` and `eval/inertia`, mean squared distances to the nearest centre;
`…/purity` where examples have classes; `kmeans/empty`, centres to which no point ever came.
kmeans.csv: a row per centre, `weight` being w_j.

Reduces to a step of Lloyd's algorithm in the first round of everybody, but for the start's weight.

Differences from the paper:
1. A cohort's points all are assigned before any centre moves; the paper moves them point by point
   within a mini-batch, by the same means.
2. Every point of a cohort is read, where the paper draws its mini-batch from all points.
3. Each centre's start counts as one point of it (TFF), where the paper forgets it.
4. No sparse centres (the paper's L1 projection).
"""

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import random_streams
from fl_research.analytics import points
from fl_research.analytics.analysis import Analysis, Setup
from fl_research.registry import UsageError


class KMeans(Analysis[Any]):
  """TFF's process on the runs' clients.

  Args:
    setup: whose data, and how sums are taken.
    clusters: K.
    start: `examples` or `normal`.
  """

  def __init__(self, setup: Setup, clusters: int, start: str):
    settings, self._data = setup.settings, setup.data
    self._clusters, self._seed = clusters, settings.seed
    self._dimension = points.dimension(settings, setup.data)
    first, second = random_streams.stateless_seed(settings.seed, 'k-means start').tolist()
    self._process = tff.learning.algorithms.build_fed_kmeans(
      clusters,
      (self._dimension,),
      random_seed=(first, second),
      sum_aggregator=setup.sum_factory(),
    )
    self._judge = points.Judge(setup.data)
    self._start = self._drawn_examples() if start == 'examples' else None
    self.numbers_up = clusters * (self._dimension + 1)
    self.numbers_down = clusters * self._dimension

  def initial(self):
    state = self._process.initialize()
    return state if self._start is None else self._process.set_model_weights(state, self._start)

  def step(self, state, round_num, cohort):
    clients = [
      tf.data.Dataset.from_tensor_slices(points.vectors(examples))
      for examples in self._data.train.examples_of(cohort)
    ]
    return self._process.next(state, clients).state

  def measures(self, state):
    centres, weights = self._centres(state)
    return {**self._judge.measures(centres), 'kmeans/empty': int(np.count_nonzero(weights == 1))}

  def table(self, state):
    return points.rows_of_centres(*self._centres(state), 'weight')

  def _centres(self, state) -> tuple[np.ndarray, np.ndarray]:
    """The centres, float32 [K, d], and their weights, float32 [K]."""
    return np.asarray(self._process.get_model_weights(state)), np.asarray(state.finalizer)

  def _drawn_examples(self) -> np.ndarray:
    """K different examples of the training clients, float32 [K, d]."""
    train = self._data.train
    ends = np.cumsum(train.sizes)
    if self._clusters > ends[-1]:
      raise UsageError(
        f'--kmeans_clusters={self._clusters}: the clients have {ends[-1]} examples in all, of '
        'which --kmeans_start=examples wants as many; accepted are fewer'
      )
    generator = random_streams.generator(self._seed, 'k-means start')
    drawn = generator.choice(ends[-1], self._clusters, replace=False)
    owners = np.searchsorted(ends, drawn, side='right')
    rows = drawn - (ends - train.sizes)[owners]
    own = [{'x': train.examples(int(k))['x'][[row]]} for k, row in zip(owners, rows)]
    return np.concatenate([points.vectors(examples) for examples in own])


def build(setup: Setup, clusters: int, start: str) -> KMeans:
  return KMeans(setup, clusters, start)

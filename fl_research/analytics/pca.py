"""Principal components, from sums over clients.

Pearson 1901, "On Lines and Planes of Closest Fit to Systems of Points in Space", by the covariance
matrix, which is a function of sums: over the points x of client k, n_k of them in d dimensions,

    each client:   n_k,    s_k = Σ x,    S_k = Σ x xᵀ
    server:        n, s, S = Σ_k of each;    μ = s / n,    Σ = S / n - μ μᵀ
                   Σ v_i = λ_i v_i,    λ_1 ≥ λ_2 ≥ …

which is exactly what the pooled points give, whoever holds them, and takes one round. With
`--secure_aggregation` the server sees the sums alone, whose terms `--secure_sum_bound` cuts.

Columns: `pca/explained`, the share of the variance that the components have together;
`train_set/residual` and `eval/residual`, the mean squared distance of points from the plane of the
components; empty in row 0. pca.csv: a row `mean`, then a row per component with its `variance` λ_i
and that as a `share` of all, its largest entry being positive.

Differences from the paper:
1. None but for rounding: sums are float64, with secure ones those of float32 numbers, rounded to
   2^32 levels. Points far from 0 for their spread lose digits in S / n - μ μᵀ.
"""

import collections
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.analytics import points, summing
from fl_research.analytics.analysis import Analysis, Setup
from fl_research.registry import UsageError


class State(NamedTuple):
  """The sums: n float64 [], s float64 [d], S float64 [d, d]."""

  size: np.ndarray
  sums: np.ndarray
  products: np.ndarray


class Components(NamedTuple):
  """μ [d]; the first λ, [k]; their v, [k, d]; the trace of Σ."""

  mean: np.ndarray
  variances: np.ndarray
  vectors: np.ndarray
  total: float


def principal(state: State, count: int) -> Components:
  """The first principal components of points with these sums."""
  mean = state.sums / state.size
  covariance = state.products / state.size - np.outer(mean, mean)
  variances, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
  first = vectors.T[::-1][:count]
  largest = np.take_along_axis(first, np.abs(first).argmax(axis=1)[:, np.newaxis], axis=1)
  found = np.maximum(variances[::-1][:count], 0.0)
  return Components(mean, found, first * np.sign(largest), float(np.trace(covariance)))


class PCA(Analysis[State]):
  """Three federated sums, and the eigenvectors of what they make up.

  Args:
    setup: whose data, and how sums are taken.
    components: how many components.
  """

  def __init__(self, setup: Setup, components: int):
    self._data, self._components = setup.data, components
    self._dimension = points.dimension(setup.settings, setup.data)
    if components > self._dimension:
      raise UsageError(
        f'--pca_components={components}: points have {self._dimension} dimensions, and no more '
        'components'
      )
    self._sums = _summing(self._dimension, setup)
    numbers = 1 + self._dimension + self._dimension**2
    self.numbers_up = numbers if setup.sums.are_secure else 2 * numbers  # float64
    self.numbers_down = 0

  def initial(self):
    d = self._dimension
    return State(np.zeros(()), np.zeros(d), np.zeros((d, d)))

  def step(self, state, round_num, cohort):
    del state, round_num
    clients = [points.vectors(own) for own in self._data.train.examples_of(cohort)]
    sums = self._sums(clients)
    return State(*(np.asarray(sums[name], np.float64) for name in State._fields))

  def measures(self, state):
    names = ('pca/explained', 'train_set/residual', 'eval/residual')
    if not state.size > 0:
      return dict.fromkeys(names)
    found = principal(state, self._components)
    explained = found.variances.sum() / found.total if found.total > 0 else None
    sets = (self._data.train.pooled(), self._data.test)
    return dict(zip(names, (explained, *(_residual(examples, found) for examples in sets))))

  def table(self, state):
    found = principal(state, self._components)
    entries = lambda vector: {f'x{i}': value for i, value in enumerate(vector)}
    rows: list[dict[str, Any]] = [
      {'component': 'mean', 'variance': None, 'share': None, **entries(found.mean)}
    ]
    for k, (variance, vector) in enumerate(zip(found.variances, found.vectors)):
      share = variance / found.total if found.total > 0 else None
      rows.append({'component': k + 1, 'variance': variance, 'share': share, **entries(vector)})
    return rows


def _residual(examples, found: Components):
  """The mean squared distance of examples from the plane of the components."""
  if not len(examples['x']):
    return None
  total = 0.0
  for part in points.parts(examples):
    centred = points.vectors(part).astype(np.float64) - found.mean
    inside = centred @ found.vectors.T
    total += float((centred**2).sum() - (inside**2).sum())
  return total / len(examples['x'])


def _summing(dimension: int, setup: Setup):
  """The computation from clients' points, float32 [n_k, d], to the sums at the server."""
  points_type = tff.TensorType(np.float32, (None, dimension))

  @tff.tensorflow.computation(points_type)
  def work(own):
    x = tf.cast(own, setup.dtype)
    return collections.OrderedDict(
      size=tf.cast(tf.shape(x)[0], setup.dtype),
      sums=tf.reduce_sum(x, axis=0),
      products=tf.linalg.matmul(x, x, transpose_a=True),
    )

  return summing.summing(setup, points_type, work)


def build(setup: Setup, components: int) -> PCA:
  return PCA(setup, components)

"""Quantiles of clients' numbers, from a tree of counts.

Hay, Rastogi, Miklau, Suciu 2010, "Boosting the Accuracy of Differentially Private Histograms
Through Consistency", section 4, of whose trees TFF has a decoder (`tff.analytics`,
`HierarchicalHistogramDecoder`): of K = 2^L bins in [low, high)

    each client:  its counts in the K bins, in K / 2 pairs of them, …, in all: a tree of 2 K - 1
    server:       T = the sum of the trees, noisy where privacy is asked for
                  T ← the nearest tree (least squares) whose parents are the sums of their children
                  q-quantile: the first bin b with  Σ_{i ≤ b} T_i ≥ q Σ_i T_i

The noise of a sum of bins is that of a few nodes, at most 2 L, and not of up to K bins. The unit of
privacy is a client with all its numbers, whose tree is scaled to a length of at most
C = `--dp_clip_norm`: one number makes a tree of length √(L + 1). `--column` as of histogram.

Columns: `quantiles/total`, the root of the tree; empty in row 0; with privacy `privacy/epsilon`,
`privacy/delta`. quantiles.csv: a row per `quantile`, and `low` and `high` of the bin that it is in.

Differences from the paper:
1. The tree's noise is Gaussian and its clients' contributions are clipped, where the paper adds
   Laplace noise to counts to which each person contributes one.
2. Numbers outside of the range count in the first or the last bin, so that quantiles within it are
   right; TFF's own process leaves them out. That one, whose noise and choice of records cannot be
   drawn from `--seed`, is `--analysis=tff_histogram`.
3. The tree is binary; the paper's may have other numbers of children.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.analytics import binned, columns, summing
from fl_research.analytics.analysis import Analysis, Setup
from fl_research.registry import UsageError


class State(NamedTuple):
  """The range, float64 [2]; the tree from its root on, level by level, float64 [2 K - 1]."""

  reach: np.ndarray
  tree: np.ndarray


def levels(tree: np.ndarray) -> list[list[float]]:
  """The levels of a tree: of 1, 2, 4, … nodes."""
  depth = int(math.log2(len(tree) + 1))
  return [tree[2**k - 1 : 2 ** (k + 1) - 1].tolist() for k in range(depth)]


def sums_up_to(tree: np.ndarray) -> np.ndarray:
  """Σ_{i ≤ b} of the consistent tree nearest to this one, for each bin b: float64 [K]."""
  ragged = tf.ragged.constant(levels(tree), dtype=tf.float64)
  decoder = tff.analytics.HierarchicalHistogramDecoder(ragged, 0.0, 1.0)
  decoder.enforce_consistency()
  bins = (len(tree) + 1) // 2
  return np.cumsum([decoder.node_query(int(math.log2(bins)), b) for b in range(bins)])


def quantile_bin(sums: np.ndarray, q: float) -> int:
  """The first bin up to which at least q of everything lies; the last where noise lets none."""
  enough = np.flatnonzero(sums >= q * sums[-1])
  return int(enough[0]) if len(enough) else len(sums) - 1


class Quantiles(Analysis[State]):
  """One sum of trees.

  Args:
    setup: whose data, and how sums are taken.
    of: the quantiles, with commas between them.
    bins: K, a power of 2.
    low, high: the range; 0 and 0 to find it out.
  """

  def __init__(self, setup: Setup, of: str, bins: int, low: float, high: float):
    self._wanted, self._bins = _parsed(of), bins
    self._numbers = columns.numbers(setup)
    self._range = binned.given('quantiles', setup, low, high)
    self._count = _counting(bins, setup)
    self.numbers_up = 2 * bins - 1
    self.numbers_down = 4  # The range.

  def initial(self):
    return State(np.zeros(2), np.full(2 * self._bins - 1, np.nan))

  def step(self, state, round_num, cohort):
    del state, round_num
    clients = [self._numbers[k] for k in cohort]
    reach = np.array(self._range or binned.found(clients))
    return State(reach, np.asarray(self._count(clients, reach), np.float64))

  def measures(self, state):
    return {'quantiles/total': float(state.tree[0])}

  def table(self, state):
    edges, sums = binned.Range(*state.reach).edges(self._bins), sums_up_to(state.tree)
    places = {q: quantile_bin(sums, q) for q in self._wanted}
    return [{'quantile': q, 'low': edges[b], 'high': edges[b + 1]} for q, b in places.items()]


def _parsed(of: str) -> list[float]:
  """The quantiles of a text such as 0.25,0.5."""
  try:
    found = [float(word) for word in of.split(',')]
  except ValueError:
    found = []
  if not found or not all(0 <= q <= 1 for q in found):
    raise UsageError(f'--quantiles_of={of}: accepted are numbers in [0, 1], with commas between')
  return found


def _counting(bins: int, setup: Setup):
  """The computation (clients' numbers, the range) -> the sum of their trees."""

  @tff.tensorflow.computation(binned.NUMBERS, tff.TensorType(np.float64, (2,)))
  def work(numbers, reach):
    places = tf.clip_by_value(binned.bins_of(numbers, reach, bins), 0, bins - 1)
    level = tf.reduce_sum(tf.one_hot(places, bins, dtype=setup.dtype), axis=0)
    tree = [level]
    while level.shape[0] > 1:
      level = tf.reduce_sum(tf.reshape(level, [-1, 2]), axis=1)
      tree.insert(0, level)
    return tf.concat(tree, axis=0)

  return summing.summing(setup, binned.NUMBERS, work, tff.TensorType(np.float64, (2,)))


def build(setup: Setup, of: str, bins: int, low: float, high: float) -> Quantiles:
  return Quantiles(setup, of, bins, low, high)

"""How many different words all clients have together, without a list of them.

Whang, Vander-Zanden, Taylor 1990, "A Linear-Time Probabilistic Counting Algorithm for Database
Applications" (`--distinct_sketch=linear`): with m buckets and a hash h of words to them,

    each client:   b_k[i] = 1 where one of its words has h(word) = i
    server:        s = Σ_k b_k,    V = the share of i with s[i] = 0,    n = -m ln V

A word that several clients have falls into the same bucket, and counts once. n is off by about
√(m (e^t - t - 1)) words, t = n / m: a bucket for each word that there may be gives 0.9 / √n of n.
With `--secure_aggregation` the server sees how many clients have each bucket, and no client's own.

`--distinct_sketch=hyperloglog` is TFF's `count_distinct` (Flajolet, Fusy, Gandouet, Meunier 2007,
"HyperLogLog: the analysis of a near-optimal cardinality estimation algorithm"), of 32 registers
whatever n, off by 1.04 / √32 of it, which is 18 %.

`--column`: the label, or a column of `--data_file`, texts of which are taken apart into words;
`words`, of the tasks shakespeare and tff_shakespeare.

Columns: `distinct/estimate`, and `distinct/exact`, which a simulation can know; empty in row 0.
distinct.csv: both, and the `standard_error` by the formulas above.

Differences from the paper:
1. Clients' bitmaps are added up, where that of one database would be joined by "or": whether a sum
   is 0 says the same, and sums can be secure.
2. The hash begins with the seed, so that `--seed` shows how far estimates are apart.
3. TFF's HyperLogLog lacks the paper's correction of small numbers: it never says less than 22; and
   its hash does not depend on `--seed`.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.analytics import columns, summing
from fl_research.analytics.analysis import Analysis, Setup

_REGISTERS = 32
_WORDS = tff.TensorType(np.str_, (None,))


class State(NamedTuple):
  """The estimate and the exact number, float64 []: NaN before the round."""

  estimate: np.ndarray
  exact: np.ndarray


def linear_count(buckets: np.ndarray) -> float:
  """n = -m ln V; infinite where no bucket is empty.

  Args:
    buckets: how many clients have each of the m, above 0.5 for one at least.
  """
  empty = np.count_nonzero(buckets < 0.5)
  return len(buckets) * math.log(len(buckets) / empty) if empty else math.inf


def linear_error(estimate: float, buckets: int) -> float:
  """The standard error of linear counting, in words."""
  load = estimate / buckets
  return math.sqrt(buckets * (math.expm1(load) - load)) if load < 100 else math.inf


class Distinct(Analysis[State]):
  """One sum of bitmaps, or one of TFF's sketches.

  Args:
    setup: whose data, and how sums are taken.
    sketch: `linear` or `hyperloglog`.
    buckets: m.
  """

  def __init__(self, setup: Setup, sketch: str, buckets: int):
    self._words = columns.texts(setup)
    self._buckets = buckets if sketch == 'linear' else None
    if sketch == 'linear':
      self._sum = _bitmaps(buckets, setup)
      self.numbers_up = buckets
    else:
      hyperloglog = tff.analytics.count_distinct.create_federated_hyperloglog_computation
      self._sketch = hyperloglog(use_secagg=setup.sums.are_secure)
      self.numbers_up = 2 * _REGISTERS * (28 if setup.sums.are_secure else 1)
    self.numbers_down = 0

  def initial(self):
    return State(np.array(np.nan), np.array(np.nan))

  def step(self, state, round_num, cohort):
    del state, round_num
    clients = [columns.encoded(self._words[k]) for k in cohort]
    exact = len(set().union(*(self._words[k].tolist() for k in cohort)))
    return State(np.array(self._estimate(clients)), np.array(float(exact)))

  def _estimate(self, clients) -> float:
    if self._buckets is not None:
      return linear_count(np.asarray(self._sum(clients)))
    datasets = [tf.data.Dataset.from_tensor_slices(tf.constant(own, tf.string)) for own in clients]
    return float(self._sketch(datasets))

  def measures(self, state):
    return {'distinct/estimate': float(state.estimate), 'distinct/exact': float(state.exact)}

  def table(self, state):
    estimate = float(state.estimate)
    if self._buckets is not None:
      error = linear_error(estimate, self._buckets)
    else:
      error = 1.04 / math.sqrt(_REGISTERS) * estimate
    return [{'estimate': estimate, 'standard_error': error, 'exact': float(state.exact)}]


def _bitmaps(buckets: int, setup: Setup):
  """The computation from clients' words to how many clients have each bucket."""
  salt = f'{setup.settings.seed}:'

  @tff.tensorflow.computation(_WORDS)
  def work(words):
    places = tf.strings.to_hash_bucket_fast(tf.strings.join([salt, words]), buckets)
    hits = tf.math.unsorted_segment_sum(tf.ones_like(places), places, buckets)
    return tf.cast(hits > 0, setup.dtype)

  return summing.summing(setup, _WORDS, work)


def build(setup: Setup, sketch: str, buckets: int) -> Distinct:
  return Distinct(setup, sketch, buckets)

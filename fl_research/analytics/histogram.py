"""A histogram of clients' numbers, from the sum of their counts.

Of K bins of equal width in [low, high), and one to either side of them,

    each client:   h_k[b] = |{its numbers in bin b}|,    b = 0 … K + 1
    server:        h = Σ_k h_k

In the clear and with secure sums (`--secure_aggregation`) these are the pooled numbers' counts.
With `--dp_noise_multiplier` or `--target_epsilon` the unit of privacy is a client with all its
numbers, and this a round of algorithm 1, without training, of McMahan, Ramage, Talwar, Zhang 2018,
"Learning Differentially Private Recurrent Language Models":

    h = Σ_k h_k min(1, C / |h_k|) + N(0, (z C)²),    C = --dp_clip_norm

`--column` says which numbers: `num_examples`, how many examples each client has; `label`; or a
column of the table that is `--data_file`. Without `--histogram_low` and `--histogram_high` clients
are asked for their smallest and largest number first.

Columns: `histogram/total`, `histogram/below` and `histogram/above`, counts of all numbers and of
those outside of the range; empty in row 0; with privacy `privacy/epsilon`, `privacy/delta`.
histogram.csv: a row per bin, `low` ≤ numbers < `high`, their `count`, and the `share` of it among
the bins, negative counts of noise being no share.

Differences from the paper:
1. What is summed are counts and no updates, and the sum is not divided by the number of clients.
2. Noise and the accountant are those of training (`fl_research.aggregation.privacy`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.analytics import binned, columns, summing
from fl_research.analytics.analysis import Analysis, Setup


class State(NamedTuple):
  """The range, float64 [2]; the counts below, in the bins, and above: float64 [K + 2]."""

  reach: np.ndarray
  counts: np.ndarray


class Histogram(Analysis[State]):
  """One sum of counts.

  Args:
    setup: whose data, and how sums are taken.
    bins: K.
    low, high: the range; 0 and 0 to find it out.
  """

  def __init__(self, setup: Setup, bins: int, low: float, high: float):
    self._bins, self._numbers = bins, columns.numbers(setup)
    self._range = binned.given('histogram', setup, low, high)
    self._count = _counting(bins, setup)
    self.numbers_up = bins + 2
    self.numbers_down = 4  # The range.

  def initial(self):
    return State(np.zeros(2), np.full(self._bins + 2, np.nan))

  def step(self, state, round_num, cohort):
    del state, round_num
    clients = [self._numbers[k] for k in cohort]
    reach = np.array(self._range or binned.found(clients))
    return State(reach, np.asarray(self._count(clients, reach), np.float64))

  def measures(self, state):
    below, inside, above = state.counts[0], state.counts[1:-1].sum(), state.counts[-1]
    names = ('histogram/total', 'histogram/below', 'histogram/above')
    return dict(zip(names, map(float, (below + inside + above, below, above))))

  def table(self, state):
    edges, counts = binned.Range(*state.reach).edges(self._bins), state.counts[1:-1]
    positive = np.maximum(counts, 0.0)
    shares = positive / positive.sum() if positive.sum() > 0 else [None] * self._bins
    rows: list[Mapping[str, Any]] = [
      {'bin': k, 'low': edges[k], 'high': edges[k + 1], 'count': counts[k], 'share': shares[k]}
      for k in range(self._bins)
    ]
    return rows


def _counting(bins: int, setup: Setup):
  """The computation (clients' numbers, the range) -> their counts, summed."""

  @tff.tensorflow.computation(binned.NUMBERS, tff.TensorType(np.float64, (2,)))
  def work(numbers, reach):
    places = binned.bins_of(numbers, reach, bins) + 1
    return tf.reduce_sum(tf.one_hot(places, bins + 2, dtype=setup.dtype), axis=0)

  return summing.summing(setup, binned.NUMBERS, work, tff.TensorType(np.float64, (2,)))


def build(setup: Setup, bins: int, low: float, high: float) -> Histogram:
  return Histogram(setup, bins, low, high)

"""TFF's own hierarchical histogram, with noise and a choice of records that no seed gives back.

`tff.analytics.build_hierarchical_histogram_process`, after Hay, Rastogi, Miklau, Suciu 2010,
"Boosting the Accuracy of Differentially Private Histograms Through Consistency", section 4. Of K
bins of equal width in [low, high), filled up with empty ones to the leaves of a tree whose nodes
have a children each,

    each client:   at most m of its numbers in the range (`sub-sampling`), or at most m bins that it
                   has numbers in, once each (`distinct`); its counts in all nodes of the tree
    server:        T = Σ_k T_k + N(0, (z C)²),   C the longest tree that a client may have
                   T ← the nearest tree (least squares) whose parents are the sums of their children

`--column` as of histogram. With `--tff_histogram_noise` = z above 0 the result is differentially
private for a client with all its numbers, as TFF says; it has no ε here, whose accountant is that
of noise of our own. Which numbers of a client with more than m of them count, and the noise, come
from TFF's generators: the manifest's `reproducible` is false then, a line says so, and the same
command gives another result. `--analysis=histogram` and `--analysis=quantiles` have neither trait.

Columns: `tff_histogram/total`, the root of the tree as it was summed; empty in row 0.
tff_histogram.csv: a row per bin, `low` ≤ numbers < `high`, and their `count` in the consistent
tree.

Differences from the paper:
1. Noise is Gaussian, where the paper has Laplace's, and added to the sum.
2. TFF's distributed noise (discrete Gaussian) is not offered; `--secure_aggregation` sums trees
   without noise, or with the server's.
3. Numbers are float32.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.analytics import binned, columns
from fl_research.analytics.analysis import Analysis, Setup
from fl_research.registry import UsageError
from fl_research.training import terminal


class State(NamedTuple):
  """The tree from its root on, level by level, float64 [nodes]; NaN before the round."""

  tree: np.ndarray


class TFFHistogram(Analysis[State]):
  """One round of TFF's process.

  Args:
    setup: whose data, and whether sums are secure.
    bins: K.
    low, high: the range.
    arity: a ≥ 2.
    clipping: 'sub-sampling' or 'distinct'.
    max_records: m.
    noise: z; 0 for none.

  Raises:
    UsageError: the range is empty.
  """

  def __init__(
    self,
    setup: Setup,
    bins: int,
    low: float,
    high: float,
    arity: int,
    clipping: str,
    max_records: int,
    noise: float,
  ):
    if not low < high:
      raise UsageError(
        f'--tff_histogram_high={high:g}: must be above --tff_histogram_low={low:g}; give both'
      )
    self._bins, self._arity, self._range = bins, arity, binned.Range(low, high)
    self._numbers = [numbers.astype(np.float32) for numbers in columns.numbers(setup)]
    self.reproducible = not noise and all(
      len(_records(numbers, self._range, bins, clipping)) <= max_records
      for numbers in self._numbers
    )
    self._process = tff.analytics.build_hierarchical_histogram_process(
      low,
      high,
      bins,
      arity=arity,
      clip_mechanism=clipping,
      max_records_per_user=max_records,
      dp_mechanism='central-gaussian' if noise else 'no-noise',
      noise_multiplier=noise,
      enable_secure_sum=setup.sums.are_secure,
    )
    # TFF's tree may have a level more than it needs, so it is asked.
    tree = self._process.initialize.type_signature.result.member.aggregated_hierarchical_histogram
    self._depth = tree.nested_row_splits[0].shape[0] - 2
    self.numbers_up = tree.flat_values.shape[0]
    self.numbers_down = 0
    if not self.reproducible:
      terminal.note(
        '--analysis=tff_histogram: noise, or the choice of records, is TFF’s own; --seed does not '
        'give this result back'
      )

  def facts(self):
    return {'reproducible': self.reproducible}

  def initial(self):
    return State(np.full(self.numbers_up, np.nan))

  def step(self, state, round_num, cohort):
    del state, round_num
    clients = [tf.data.Dataset.from_tensor_slices(self._numbers[k]) for k in cohort]
    found, _ = self._process.next(self._process.initialize(), clients)
    return State(np.asarray(found.aggregated_hierarchical_histogram['flat_values'], np.float64))

  def measures(self, state):
    return {'tff_histogram/total': float(state.tree[0])}

  def table(self, state):
    edges, counts = self._range.edges(self._bins), self._consistent(state.tree)
    return [
      {'bin': k, 'low': edges[k], 'high': edges[k + 1], 'count': counts[k]}
      for k in range(self._bins)
    ]

  def _consistent(self, tree: np.ndarray) -> list[float]:
    """The leaves of the nearest tree whose parents are the sums of their children."""
    ends = np.cumsum([self._arity**level for level in range(self._depth + 1)])
    ragged = tf.RaggedTensor.from_row_splits(tree, [0, *ends])
    decoder = tff.analytics.HierarchicalHistogramDecoder(ragged, *self._range)
    decoder.enforce_consistency()
    return [float(decoder.node_query(self._depth, k)) for k in range(self._bins)]


def _records(numbers: np.ndarray, reach: binned.Range, bins: int, clipping: str) -> Any:
  """Those of a client's numbers that TFF chooses from."""
  inside = numbers[(numbers >= reach.low) & (numbers < reach.high)]
  if clipping == 'sub-sampling':
    return inside
  return np.unique(np.floor((inside - reach.low) / (reach.high - reach.low) * bins))


def build(setup: Setup, **parameters: Any) -> TFFHistogram:
  return TFFHistogram(setup, **parameters)

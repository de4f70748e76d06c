"""The words that clients have most often, from a sketch that can be summed.

TFF's `tff.analytics.heavy_hitters.iblt` does all of it: an invertible Bloom lookup table (Goodrich,
Mitzenmacher 2011, "Invertible Bloom Lookup Tables"), of a word's letters and two counts,

    each client:   each of its words w, as numbers, is added to 3 cells that hashes of w name
    server:        the sum of the tables; where a cell holds one word alone, that word is read and
                   taken out of its other cells, until no cell does

which gives every word, if there are no more of them than the table's capacity, with the number of
times that it comes and of clients that have it. With `--secure_aggregation` the server sees the sum
of the tables alone. It is no differential privacy: `--heavy_hitters_min_clients` keeps words of few
clients out of the answer, and `--analysis=triehh` has an ε.

`--column` as of distinct: the label, a column of `--data_file`, or `words`.

Columns: `heavy_hitters/words`, how many were found; `heavy_hitters/not_decoded`, how many were not,
as the capacity is too small; `heavy_hitters/recall`, the share that was found of the
`--heavy_hitters_top` most frequent words, as a simulation can know; empty in row 0.
heavy_hitters.csv: a row per `word`, `count` and `clients`, the most frequent first.

Differences from the paper:
1. Cells hold sums modulo a prime in place of exclusive ors, so that tables of clients can be summed
   (TFF).
2. Words are cut to `--heavy_hitters_max_bytes` of UTF-8.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.analytics import columns
from fl_research.analytics.analysis import Analysis, Setup

_COUNT_BITS = 30


class State(NamedTuple):
  """Words in UTF-8 that were found, counts, clients; how many were not, and the recall.

  Before the round the last two are NaN.
  """

  words: np.ndarray
  counts: np.ndarray
  clients: np.ndarray
  missed: np.ndarray
  recall: np.ndarray


class HeavyHitters(Analysis[State]):
  """TFF's sketch of all clients' words.

  Args:
    setup: whose data, and whether sums are secure.
    capacity: how many different words the table is made for.
    max_bytes: how long words may be.
    max_words: how many words of a client count, the first ones; 0: all.
    min_clients: words of fewer clients are left out.
    top: of how many of the most frequent words the recall is.
  """

  table_columns = ('word', 'count', 'clients')

  def __init__(
    self, setup: Setup, capacity: int, max_bytes: int, max_words: int, min_clients: int, top: int
  ):
    self._words, self._top, self._max_bytes = columns.texts(setup), top, max_bytes
    self._find = _finding(
      capacity, max_bytes, max_words, min_clients, setup.sums.are_secure, setup.settings.seed
    )
    self.numbers_up = 2 * _table_size(capacity, max_bytes)
    self.numbers_down = 0

  def initial(self):
    nothing = np.zeros(0, np.int64)
    return State(np.zeros(0, bytes), nothing, nothing, np.array(np.nan), np.array(np.nan))

  def step(self, state, round_num, cohort):
    del state, round_num
    clients = [columns.encoded(self._words[k]) for k in cohort]
    found = self._find([tf.data.Dataset.from_tensors(tf.constant(w, tf.string)) for w in clients])
    words = np.array([bytes(word) for word in np.asarray(found.heavy_hitters)], bytes)
    counts = np.asarray(found.heavy_hitters_counts, np.int64)
    order = np.lexsort((words, -counts))
    truth = columns.most_frequent([word[: self._max_bytes] for own in clients for word in own])
    return State(
      words[order],
      counts[order],
      np.asarray(found.heavy_hitters_unique_counts, np.int64)[order],
      np.array(float(found.num_not_decoded)),
      np.array(columns.recall(truth[: self._top], words.tolist())),
    )

  def measures(self, state):
    known = not np.isnan(state.missed)
    return {
      'heavy_hitters/words': len(state.words) if known else None,
      'heavy_hitters/not_decoded': int(state.missed) if known else None,
      'heavy_hitters/recall': float(state.recall),
    }

  def table(self, state):
    return [
      {'word': word.decode(errors='replace'), 'count': count, 'clients': clients}
      for word, count, clients in zip(state.words.tolist(), state.counts, state.clients)
    ]


@functools.cache
def _finding(
  capacity: int, max_bytes: int, max_words: int, min_clients: int, secure: bool, seed: int
):
  """TFF's computation, which takes seconds to trace."""
  return tff.analytics.heavy_hitters.iblt.build_iblt_computation(
    capacity=capacity,
    string_max_bytes=max_bytes,
    max_words_per_user=max_words or None,
    k_anonymity=min_clients,
    secure_sum_bitwidth=_COUNT_BITS if secure else None,
    seed=seed,
  )


def _table_size(capacity: int, max_bytes: int) -> int:
  """How many numbers of 64 bits a client sends: cells, and counts of words beside them."""
  encoder = tff.analytics.heavy_hitters.iblt.IbltTensorEncoder(
    capacity=capacity, string_max_bytes=max_bytes, value_shape=(1,), seed=0
  )
  return math.prod(encoder.iblt_shape) + math.prod(encoder.iblt_values_shape)


def build(setup: Setup, **parameters: int) -> HeavyHitters:
  return HeavyHitters(setup, **parameters)

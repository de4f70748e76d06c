"""TrieHH: frequent words, letter by letter, private as few clients vote and few votes do not count.

Zhu, Kairouz, McMahan, Sun, Li 2020, "Federated Heavy Hitters Discovery with Differential Privacy",
algorithms 1 to 3. Every client has one word of at most L - 1 letters and an end. Round r = 1 … L:

    m of the n clients are drawn
    each:     its word's first r letters, a vote, if the first r - 1 of them are in the trie
    server:   prefixes with θ votes or more come into the trie; those that end are words

No noise is drawn. What protects is that m is small, and that fewer than θ votes change nothing
(corollary 1 of the paper): of all L rounds together a client's word is (ε, δ)-differentially
private with the smallest θ and the largest m such that

    (θ - 3) / (θ - 2) · θ! ≥ 1 / δ,    θ ≥ e^(ε / L) - 1,    m ≤ n (e^(ε / L) - 1) / (θ e^(ε / L)).

Flags: `--triehh_epsilon`, `--triehh_delta` (0: n^-1.1), `--triehh_length` = L; m follows from them,
so `--clients_per_round` is left out. `--column` as of distinct. It is meant for hundreds of
thousands of clients: of 1,000, 47 are asked in a round with ε = 4, of whom 7 must agree.

Columns: `triehh/prefixes`, how many of this length came into the trie; `triehh/words`, how many
words it has; `triehh/recall`, the share that was found of the `--triehh_top` words that most
clients have, as a simulation can know. triehh.csv: a row per `word` and its `votes` in the last of
its rounds. The manifest's `privacy` has ε, δ, θ and m, of all rounds.

Differences from the paper:
1. Letters are bytes of UTF-8: a letter that is no letter of English takes more than one round.
2. A client with several words has one of them in all rounds, drawn from its own by their frequency;
   so do the authors before their program begins.
3. A longer word than L - 1 bytes is left out, where the authors' program cuts it.
4. Votes are summed, a table of prefixes and letters, so that with `--secure_aggregation` the server
   sees no single vote; the paper's server counts them. A table has at most m / θ prefixes.
"""

import collections
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import random_streams
from fl_research.aggregation.privacy import accountant
from fl_research.analytics import columns, summing
from fl_research.analytics.analysis import Analysis, Setup
from fl_research.registry import UsageError

_LETTERS = 256
_END, _NOTHING = 0, -1


class State(NamedTuple):
  """The trie's newest level, int32 [P, L]; the words, int32 [W, L], and their votes, int64 [W].

  A row has a letter in each place, -1 behind the last one.
  """

  level: np.ndarray
  words: np.ndarray
  votes: np.ndarray


def threshold(epsilon: float, delta: float, length: int) -> int:
  """θ, the fewest votes that count."""
  theta = 4
  while (theta - 3) / (theta - 2) * math.factorial(theta) < 1 / delta:
    theta += 1
  return max(theta, math.ceil(math.expm1(epsilon / length)))


def voters(epsilon: float, theta: int, length: int, clients: int) -> int:
  """m, how many clients are asked in a round."""
  return int(clients * -math.expm1(-epsilon / length) / theta)


class TrieHH(Analysis[State]):
  """Votes on the next letter.

  Args:
    setup: whose data, and how votes are summed.
    epsilon, delta: of all rounds; a δ of 0 stands for n^-1.1.
    length: L.
    top: of how many of the most frequent words the recall is.
  """

  table_columns = ('word', 'votes')

  def __init__(self, setup: Setup, epsilon: float, delta: float, length: int, top: int):
    settings, train = setup.settings, setup.data.train
    if settings.total_rounds > length:
      raise UsageError(
        f'--total_rounds={settings.total_rounds}: words have at most --triehh_length={length} '
        'letters, their end among them, and there is a round for each'
      )
    self._length, self._epsilon = length, epsilon
    self._delta = delta or accountant.default_delta(train.num_filled)
    self._theta = threshold(epsilon, self._delta, length)
    self.cohort_size = voters(epsilon, self._theta, length, train.num_filled)
    if self.cohort_size < self._theta:
      raise UsageError(
        f'--triehh_epsilon={epsilon:g}: lets {self.cohort_size} of the {train.num_filled} clients '
        f'vote in a round, of whom {self._theta} must agree (delta = {self._delta:.2g}); raise it, '
        'or take more clients'
      )
    self._words = _one_word_each(columns.texts(setup), settings.seed, length)
    self._top = columns.most_frequent([word for word in self._words if word])[:top]
    self._prefixes = self.cohort_size // self._theta
    self._vote = _voting(self._prefixes, length, setup)
    self.numbers_up = self._prefixes * _LETTERS
    self.numbers_down = self._prefixes * length + 1

  def facts(self):
    return {
      'privacy': {
        'epsilon_after_all_rounds': self._epsilon,
        'dp_delta': self._delta,
        'threshold': self._theta,
        'voters': self.cohort_size,
        'unit': 'client, with one word',
        'covers': 'triehh.csv, and the columns triehh/prefixes and triehh/words of metrics.csv',
        'does_not_cover': ['triehh/recall', 'what the manifest says of the data'],
      }
    }

  def initial(self):
    root = np.full((1, self._length), _NOTHING, np.int32)
    return State(root, np.zeros((0, self._length), np.int32), np.zeros(0, np.int64))

  def step(self, state, round_num, cohort):
    level = np.full((self._prefixes, self._length), _NOTHING, np.int32)
    level[: len(state.level)] = state.level
    known = np.int32(len(state.level))
    message = collections.OrderedDict(level=level, known=known, place=np.int32(round_num - 1))
    clients = [letters(self._words[k], self._length) for k in cohort]
    votes = np.rint(np.asarray(self._vote(clients, message))).astype(np.int64)
    return self._grown(state, votes, round_num - 1)

  def _grown(self, state: State, votes: np.ndarray, place: int) -> State:
    """The trie with the prefixes that have enough votes: int64 [P, letters], of the next letter."""
    parents, next_letters = np.nonzero(votes >= self._theta)
    rows = state.level[parents] if len(state.level) else state.level
    rows = rows.copy()
    rows[:, place] = next_letters
    ends = next_letters == _END
    return State(
      rows[~ends],
      np.concatenate([state.words, rows[ends]]),
      np.concatenate([state.votes, votes[parents, next_letters][ends]]),
    )

  def measures(self, state):
    found = [spelt(row) for row in state.words]
    return {
      'triehh/prefixes': len(state.level),
      'triehh/words': len(found),
      'triehh/recall': columns.recall(self._top, found),
    }

  def table(self, state):
    found = [(spelt(row), votes) for row, votes in zip(state.words, state.votes)]
    return [
      {'word': word.decode(errors='replace'), 'votes': votes}
      for word, votes in sorted(found, key=lambda pair: (-pair[1], pair[0]))
    ]


def letters(word: bytes, length: int) -> np.ndarray:
  """A word's letters and its end, int32 [L], and -1 behind; -1 alone for no word."""
  row = np.full(length, _NOTHING, np.int32)
  if word:
    row[: len(word) + 1] = [*word, _END]
  return row


def spelt(row: np.ndarray) -> bytes:
  """The word of a row of letters."""
  return bytes(int(letter) for letter in row if letter > _END)


def _one_word_each(texts: list[np.ndarray], seed: int, length: int) -> list[bytes]:
  """Each client's word in UTF-8, drawn from its own; nothing for one that has none short enough."""
  drawn = []
  for client, own in enumerate(texts):
    word = b''
    if len(own):
      generator = random_streams.generator(seed, 'TrieHH word', client)
      word = str(own[generator.integers(len(own))]).encode().replace(b'\0', b'')
    drawn.append(word if len(word) < length else b'')
  return drawn


def _voting(prefixes: int, length: int, setup: Setup):
  """The computation (clients' letters, the trie's level) -> votes [prefixes, letters]."""
  word_type = tff.TensorType(np.int32, (length,))
  message_type = tff.to_type(
    collections.OrderedDict(
      level=tff.TensorType(np.int32, (prefixes, length)), known=np.int32, place=np.int32
    )
  )

  @tff.tensorflow.computation(word_type, message_type)
  def work(word, message):
    before = tf.range(length) < message['place']
    prefix = tf.where(before, word, _NOTHING)
    same = tf.reduce_all(tf.equal(message['level'], prefix), axis=1)
    same &= tf.range(prefixes) < message['known']
    letter = word[message['place']]  # No letter, no vote: a row of zeros.
    return tf.cast(same, setup.dtype)[:, tf.newaxis] * tf.one_hot(
      letter, _LETTERS, dtype=setup.dtype
    )

  return summing.summing(setup, word_type, work, message_type)


def build(setup: Setup, **parameters) -> TrieHH:
  return TrieHH(setup, **parameters)

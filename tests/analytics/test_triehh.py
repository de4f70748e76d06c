"""TrieHH finds what the paper's algorithm finds, and asks no more clients than epsilon allows."""

import math

import numpy as np
import pytest

from fl_research.analytics import triehh
from fl_research.datasets import federated_data
from fl_research.datasets.federated_data import Problem
from fl_research.population import cohorts
from fl_research.registry import UsageError
from tests import contexts
from tests.analytics import clients
from tests.oracles import trie_hh

NAMES = ('tea', 'team', 'coffee', 'no', 'extraordinary', 'é')
CLIENTS = 600


def population():
  """Clients of one example or two, whose classes have names."""
  generator = np.random.default_rng(0)
  sizes = generator.integers(1, 3, CLIENTS)
  y = generator.choice(len(NAMES), sizes.sum(), p=[0.3, 0.25, 0.2, 0.05, 0.15, 0.05])
  pool = {'x': np.zeros((len(y), 1), np.float32), 'y': y.astype(np.int32)}
  train = federated_data.ContiguousClients(pool, np.cumsum([0, *sizes]))
  test = {name: array[:3] for name, array in pool.items()}
  return federated_data.FederatedData(
    train, test, Problem.CLASSIFICATION, len(NAMES), class_names=NAMES
  )


@pytest.mark.parametrize('secure', ['none', 'clear'])
def test_agrees_with_the_paper(secure):
  flags = {'triehh_epsilon': 12.0, 'triehh_length': 8, 'total_rounds': 8}
  setup = clients.setup(population(), analysis='triehh', **flags, secure_aggregation=secure)
  analysis = clients.build(setup)
  # 1 / delta = 600^1.1 = 1137; theta = 7 is the first with 4/5 7! above it.
  assert analysis._theta == 7 and analysis.cohort_size == int(600 * (1 - math.exp(-1.5)) / 7)
  # Of 66 voters at most 9 times 7 agree.
  assert (analysis.numbers_up, analysis.numbers_down) == (9 * 256, 9 * 8 + 1)
  sampler = cohorts.CohortSampler('uniform', analysis.cohort_size, setup.data.train.sizes, seed=0)
  rounds = [sampler.cohort(number) for number in range(1, 9)]
  with contexts.fused(chunks=3):
    state = analysis.initial()
    for number, cohort in enumerate(rounds, start=1):
      state = analysis.step(state, number, cohort)
  expected = trie_hh.grow([word.decode() for word in analysis._words], rounds, 7)
  rows = [(row['word'], row['votes']) for row in analysis.table(state)]
  assert rows == sorted(expected.items(), key=lambda pair: (-pair[1], pair[0]))
  assert {'tea', 'team'} <= set(expected) and 'no' not in expected
  recall = len(set(expected) & {'tea', 'team', 'coffee', 'no', 'é'}) / 5
  assert analysis.measures(state)['triehh/recall'] == recall


def test_one_word_each_of_its_own_and_short_enough():
  words = [np.array(['tea', 'tea', 'no'], str), np.array([], str), np.array(['extraordinary'], str)]
  drawn = [triehh._one_word_each(words, seed, 8) for seed in range(60)]
  assert {word[1] for word in drawn} == {word[2] for word in drawn} == {b''}
  assert 25 <= sum(word[0] == b'tea' for word in drawn) <= 55
  assert triehh.spelt(triehh.letters('é'.encode(), 4)).decode() == 'é'
  exactly = [np.array(['seven77'], str), np.array(['eight888'], str)]
  assert triehh._one_word_each(exactly, 0, 8) == [b'seven77', b'']
  assert triehh.letters(b'', 3).tolist() == [-1, -1, -1]


def test_thresholds_and_voters_of_the_paper():
  """Its experiments: delta below 2.3e-12 for theta of 15; the smallest that meets the corollary."""
  assert triehh.threshold(4.0, 2.3e-12, 10) == 15
  for delta in (1e-3, 1e-6, 1e-9):
    theta = triehh.threshold(1.0, delta, 10)
    reached = [(t - 3) / (t - 2) * math.factorial(t) for t in (theta - 1, theta)]
    assert reached[0] < 1 / delta <= reached[1]
  assert triehh.threshold(60.0, 0.9, 10) == math.ceil(math.exp(6) - 1)
  # One client more or less of m among n: each round is worth e^(epsilon / L).
  m = triehh.voters(4.0, 15, 10, 10**6)
  assert 1 / (1 - 15 * m / 10**6) <= math.exp(0.4) < 1 / (1 - 15 * (m + 1) / 10**6)


@pytest.mark.parametrize(
  'flags, message',
  [
    ({'triehh_epsilon': 0.1}, '--triehh_epsilon=0.1: lets 0 of the 600 clients vote in a round'),
    ({'total_rounds': 12}, '--total_rounds=12: words have at most --triehh_length=10 letters'),
  ],
)
def test_refuses_in_one_line(flags, message):
  with pytest.raises(UsageError, match=message):
    clients.build(clients.setup(population(), analysis='triehh', **flags))


def test_facts_say_what_epsilon_is_of():
  setup = clients.setup(population(), analysis='triehh', triehh_epsilon=12.0)
  facts = clients.build(setup).facts()['privacy']
  assert facts['epsilon_after_all_rounds'] == 12.0 and facts['threshold'] == 7
  assert facts['dp_delta'] == pytest.approx(600**-1.1)

"""Histograms are those of the pooled numbers; their noise is what epsilon was computed for."""

import math

import numpy as np
import pandas as pd
import pytest

from fl_research.analytics import histogram, running
from fl_research.registry import UsageError
from tests import contexts
from tests.analytics import clients, tables

AGES = {'analysis': 'histogram', 'column': 'age', 'histogram_bins': 5}
RANGE = {'histogram_low': 20.0, 'histogram_high': 60.0}
PRIVATE = {'dp_noise_multiplier': 2.0, 'dp_clip_norm': 3.0}


def found(setup):
  """The state after a round of everybody, the row, and the table."""
  with contexts.fused(chunks=3):
    analysis = clients.build(setup)
    state = analysis.step(analysis.initial(), 1, np.arange(len(setup.data.train)))
  return state, analysis.measures(state), analysis.table(state)


@pytest.fixture(scope='module')
def people(tmp_path_factory):
  return tables.write(tmp_path_factory.mktemp('table'))


@pytest.mark.parametrize('flags', [{}, {'secure_aggregation': 'clear', 'secure_sum_bound': 100.0}])
def test_is_that_of_the_pooled_numbers(flags, people):
  _, row, table = found(tables.setup(people, **AGES, **RANGE, **flags))
  ages = pd.read_csv(people)['age'].dropna().to_numpy()
  counts, edges = np.histogram(ages[ages < 60], 5, (20, 60))
  np.testing.assert_allclose([line['count'] for line in table], counts, atol=1e-4)
  np.testing.assert_allclose(
    [(line['low'], line['high']) for line in table], np.stack([edges[:-1], edges[1:]], axis=1)
  )
  np.testing.assert_allclose([line['share'] for line in table], counts / counts.sum(), atol=1e-6)
  assert row['histogram/below'] == pytest.approx(np.sum(ages < 20), abs=1e-4)
  assert row['histogram/above'] == pytest.approx(np.sum(ages >= 60), abs=1e-4)
  assert row['histogram/total'] == pytest.approx(len(ages), abs=1e-4)


def test_finds_the_range_out(people):
  state, row, table = found(tables.setup(people, **AGES))
  ages = pd.read_csv(people)['age'].dropna()
  assert state.reach[0] == ages.min() and state.reach[1] == pytest.approx(ages.max())
  assert row['histogram/below'] == row['histogram/above'] == 0 and table[-1]['count'] > 0


def test_of_what_every_task_has():
  flags = {'analysis': 'histogram', 'histogram_bins': 4, 'histogram_high': 4.0}
  setup = clients.setup(**flags, column='label')
  _, _, table = found(setup)
  labels = setup.data.train.pooled()['y']
  assert [line['count'] for line in table] == np.bincount(labels, minlength=4).tolist()
  # Four clients, of 7, 12, 1 and 9 examples.
  _, row, table = found(clients.setup(**{**flags, 'histogram_high': 12.0}))
  assert [line['count'] for line in table] == [1, 0, 1, 1] and row['histogram/above'] == 1


def test_noise_is_that_of_the_accountant():
  """The sum of the clipped counts, and noise of standard deviation z C, by the seed."""
  sizes, many = (7, 12, 1, 9), 400
  flags = {'analysis': 'histogram', 'column': 'label', 'histogram_bins': many}
  flags |= {'histogram_high': float(many), **PRIVATE}
  setup = clients.setup(clients.population(sizes), **flags)
  state, _, _ = found(setup)
  labels = [setup.data.train.examples(k)['y'] for k in range(4)]
  counts = np.stack([np.bincount(y + 1, minlength=many + 2) for y in labels])
  lengths = np.linalg.norm(counts, axis=1, keepdims=True)
  clipped = (counts * np.minimum(1, 3.0 / lengths)).sum(axis=0)
  noise = (state.counts - clipped) / (2.0 * 3.0)
  assert abs(noise.mean()) < 4 / math.sqrt(many) and 0.85 < noise.std() < 1.15
  np.testing.assert_array_equal(found(setup)[0].counts, state.counts)
  other = clients.setup(clients.population(sizes), **flags, seed=1)
  assert not np.array_equal(found(other)[0].counts, state.counts)


def test_a_negative_count_of_noise_is_no_share():
  analysis = clients.build(clients.setup(analysis='histogram', histogram_bins=3))
  state = histogram.State(np.array([0.0, 3.0]), np.array([9.0, -1.0, 1.0, 3.0, 9.0]))
  assert [line['share'] for line in analysis.table(state)] == [0.0, 0.25, 0.75]
  assert [line['bin'] for line in analysis.table(state)] == [0, 1, 2]


def test_without_noise_privacy_clips_alone():
  flags = {'analysis': 'histogram', 'column': 'label', 'histogram_bins': 4, 'histogram_high': 4.0}
  setup = clients.setup(**flags, dp_noise_multiplier=0.0, dp_clip_norm=1e6)
  np.testing.assert_allclose(found(setup)[0].counts, found(clients.setup(**flags))[0].counts)


def test_what_is_said_of_privacy():
  """Of everybody, once: a Gaussian of multiplier z, whose epsilon is known in closed form."""
  setup = clients.setup(analysis='histogram', histogram_high=9.0, **PRIVATE)
  facts = running.privacy_facts(setup.guarantee, setup.settings)
  assert facts['unit'] == 'client' and facts['neighbors'] == 'add_or_remove_one'
  assert facts['covers'].startswith('histogram.csv') and 'model' not in str(facts['covers'])
  delta, epsilon = facts['dp_delta'], facts['epsilon_after_all_rounds']
  phi = lambda x: 0.5 * math.erfc(-x / math.sqrt(2))
  exact = phi(1 / 4 - 2 * epsilon) - math.exp(epsilon) * phi(-1 / 4 - 2 * epsilon)
  assert 0 < exact <= delta and epsilon < 1.5
  assert 'histogram.csv' in running.privacy_words(setup.guarantee, setup.settings)


@pytest.mark.parametrize(
  'flags, message',
  [
    ({'histogram_low': 2.0}, '--histogram_high=0: accepted is a number above --histogram_low=2'),
    (PRIVATE, '--histogram_low and --histogram_high: must be given with differential privacy'),
    ({'column': 'agee'}, '--column=agee: .* no such column .did you mean age.'),
    ({'column': 'word'}, '--column=word: is not of numbers'),
    ({'partition': 'iid', 'num_clients': 3}, '--column=age: rows are whose --client_column says'),
  ],
)
def test_refuses_in_one_line(flags, message, people):
  with pytest.raises(UsageError, match=message):
    clients.build(tables.setup(people, **{**AGES, **flags}))

"""TFF's histogram is that of the pooled numbers, and says where no seed gives it back."""

import numpy as np
import pandas as pd
import pytest

from fl_research.registry import UsageError
from fl_research.training import terminal
from tests import contexts
from tests.analytics import clients, tables

AGES = {'analysis': 'tff_histogram', 'column': 'age', 'tff_histogram_bins': 10}
RANGE = {'tff_histogram_low': 10.0, 'tff_histogram_high': 60.0}


@pytest.fixture
def notes(monkeypatch):
  found: list[str] = []
  monkeypatch.setattr(terminal, 'note', found.append)
  return found


@pytest.fixture(scope='module')
def people(tmp_path_factory):
  return tables.write(tmp_path_factory.mktemp('table'), rows=60)


def found(path, **flags):
  setup = tables.setup(path, **AGES, **RANGE, **flags)
  with contexts.fused(chunks=2):
    analysis = clients.build(setup)
    state = analysis.step(analysis.initial(), 1, np.arange(len(setup.data.train)))
  return analysis, state, [row['count'] for row in analysis.table(state)]


def counts_by_person(path):
  """Of each person the counts in the ten bins."""
  table = pd.read_csv(path).dropna()
  return [np.histogram(own, 10, (10.0, 60.0))[0] for _, own in table.groupby('who')['age']]


@pytest.mark.parametrize('arity', [2, 3])
def test_is_that_of_the_pooled_numbers(people, arity, notes):
  flags = {'tff_histogram_max_records': 60, 'tff_histogram_arity': arity}
  analysis, state, counts = found(people, **flags)
  expected = np.sum(counts_by_person(people), axis=0)
  np.testing.assert_allclose(counts, expected, atol=1e-6)
  assert analysis.measures(state) == {'tff_histogram/total': expected.sum()}
  assert len(state.tree) == {2: 31, 3: 40}[arity] == analysis.numbers_up
  assert analysis.facts() == {'reproducible': True} and not notes


def test_secure_sums_are_the_same(people, notes):
  flags = {'tff_histogram_max_records': 60, 'secure_aggregation': 'clear'}
  _, state, counts = found(people, **flags)
  np.testing.assert_allclose(counts, np.sum(counts_by_person(people), axis=0), atol=1e-6)
  assert state.tree.sum() == 5 * state.tree[0]  # Every level holds all of them.


def test_a_clients_records_are_limited(people, notes):
  analysis, state, _ = found(people, tff_histogram_max_records=5)
  people_have = [min(counts.sum(), 5) for counts in counts_by_person(people)]
  assert state.tree[0] == sum(people_have) < 60
  assert analysis.facts() == {'reproducible': False}
  assert len(notes) == 1 and '--seed does not give this result back' in notes[0]


def test_distinct_counts_each_bin_of_a_client_once(people, notes):
  analysis, _, counts = found(people, tff_histogram_clipping='distinct')
  np.testing.assert_allclose(counts, np.sum(np.array(counts_by_person(people)) > 0, axis=0))
  assert analysis.facts() == {'reproducible': True} and not notes


def test_noise_is_tffs_and_the_table_is_a_consistent_tree(people, notes):
  flags = {'tff_histogram_noise': 0.05, 'tff_histogram_max_records': 60}
  (analysis, one, counts), (_, other, _) = found(people, **flags), found(people, **flags)
  assert np.all(one.tree != other.tree)
  # A node has noise of 0.05 of 60 √5, the longest tree of 60 records and five levels.
  deviation = 0.05 * 60 * np.sqrt(5)
  assert 0.5 * deviation < np.std(one.tree - other.tree) / np.sqrt(2) < 1.6 * deviation
  # The nearest consistent tree has less noise than its leaves had.
  assert not np.allclose(counts, one.tree[-16:-6])
  assert analysis.facts() == {'reproducible': False} and len(notes) == 2


def test_the_range_must_be_given():
  with pytest.raises(UsageError, match='--tff_histogram_high=0: must be above'):
    clients.build(clients.setup(analysis='tff_histogram'))

"""FedDC against its oracle, and its first round against FedAvg's."""

import pytest

from fl_research.algorithms.optimization import fed_dc
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_dc as oracle

START = harness.model().initial_weights[0]


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


@pytest.fixture(scope='module')
def process():
  return harness.build(fed_dc.build(alpha=0.3), client_weighting='uniform')


def test_equals_oracle_when_clients_are_missing(process):
  rounds = [
    [data for data in cohort if int(data['client']) != missing]
    for missing, cohort in enumerate(harness.cohorts(epochs=2, rounds=4))
  ]
  expected = oracle.run(START, rounds, harness.RATE, 0.3, 3)
  harness.assert_same(harness.run(process, rounds), expected)


def test_the_first_round_of_all_clients_goes_twice_as_far_as_that_of_fed_avg():
  rounds = harness.cohorts(epochs=2, rounds=1)
  untied = harness.build(fed_dc.build(alpha=0.0), client_weighting='uniform')
  [averaged] = harness.run(harness.plain('uniform'), rounds)
  expected = [2.0 * a - w for a, w in zip(averaged, START)]
  harness.assert_same(harness.run(untied, rounds), [expected], 1e-6)


def test_without_population_it_is_not_built():
  with pytest.raises(ValueError, match='population size'):
    harness.build(fed_dc.build(alpha=0.1), population_size=None)

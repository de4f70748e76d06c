"""FedDyn against its oracle, and its limits against FedAvg."""

import numpy as np
import pytest

from fl_research.algorithms.optimization import fed_dyn
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_dyn as oracle


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _build(alpha, **parts):
  return harness.build(fed_dyn.build(alpha=alpha), client_weighting='uniform', **parts)


@pytest.fixture(scope='module')
def averaged():
  process = harness.plain('uniform')
  return harness.run(process, harness.cohorts(epochs=2))


@pytest.mark.parametrize('alpha', [0.01, 0.5])
def test_equals_oracle_when_clients_are_missing(alpha):
  rounds = [
    [data for data in cohort if int(data['client']) != missing]
    for missing, cohort in enumerate(harness.cohorts(epochs=2, rounds=4))
  ]
  expected = oracle.run(harness.model().initial_weights[0], rounds, harness.RATE, alpha, 3)
  harness.assert_same(harness.run(_build(alpha), rounds), expected)


def test_no_regulariser_is_fed_avg(averaged):
  harness.assert_same(harness.run(_build(0.0), harness.cohorts(epochs=2)), averaged, 0)


@pytest.mark.parametrize('alpha', [1e-2, 1e-3, 1e-4])
def test_approaches_fed_avg_with_small_alpha_in_a_large_population(alpha, averaged):
  ours = harness.run(_build(alpha, population_size=10**9), harness.cohorts(epochs=2))
  # To first order in α: about 0.22 α on this problem.
  apart = max(np.abs(a - b).max() for u, v in zip(ours, averaged) for a, b in zip(u, v))
  assert 0.15 * alpha < apart < 0.3 * alpha


def test_small_alpha_alone_leaves_the_servers_memory(averaged):
  # With everybody taking part -h/α is the sum of all steps so far, however small α is.
  ours = harness.run(_build(1e-5), harness.cohorts(epochs=2))
  start = harness.model().initial_weights[0]
  doubled = [w + 2.0 * (a - w) for w, a in zip(start, averaged[0])]
  harness.assert_same(ours[:1], [doubled], 1e-4)
  assert max(np.abs(a - w).max() for a, w in zip(averaged[0], start)) > 1e-2


def test_without_population_it_is_not_built():
  with pytest.raises(ValueError, match='FedDyn needs the population size'):
    _build(0.1, population_size=None)

"""FedGAMMA against its oracle and SCAFFOLD."""

import pytest

from fl_research.algorithms.optimization import fed_gamma, scaffold
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_gamma as oracle

START = harness.model().initial_weights[0]


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _build(method):
  return harness.build(method, client_weighting='uniform')


def test_equals_oracle_when_clients_are_missing():
  rounds = [
    [data for data in cohort if int(data['client']) != missing]
    for missing, cohort in enumerate(harness.cohorts(epochs=2, rounds=4))
  ]
  expected = oracle.run(START, rounds, harness.RATE, 0.3, 3)
  harness.assert_same(harness.run(_build(fed_gamma.build(rho=0.3)), rounds), expected)


def test_without_a_ball_it_is_scaffold():
  rounds = harness.cohorts(epochs=2)
  plain = harness.run(_build(scaffold.build(option='II')), rounds)
  harness.assert_same(harness.run(_build(fed_gamma.build(rho=0.0)), rounds), plain, 1e-6)

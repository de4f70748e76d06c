"""q-FedAvg against its oracle, q-FedSGD and FedAvg."""

import functools

import pytest

from fl_research import client_data
from fl_research.algorithms.fairness import q_fed_avg
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fairness as oracle

START = harness.model().initial_weights[0]


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


@functools.cache
def _process(q):
  return harness.build(q_fed_avg.build(q=q))


@pytest.mark.parametrize('q', [0.5, 2.0])
def test_equals_oracle(q):
  rounds = harness.cohorts(epochs=2)
  expected = oracle.q_fed_avg(START, rounds, harness.RATE, q)
  harness.assert_same(harness.run(_process(q), rounds), expected)


def test_one_full_batch_step_is_q_fed_sgd():
  rounds = harness.cohorts(batch_size=client_data.FULL_BATCH)
  expected = oracle.q_fed_sgd(START, rounds, harness.RATE, 2.0)
  harness.assert_same(harness.run(_process(2.0), rounds), expected)


def test_the_power_of_zero_is_fed_avg():
  rounds = harness.cohorts(epochs=2)
  averaged = harness.run(harness.plain('uniform'), rounds)
  harness.assert_same(harness.run(_process(0.0), rounds), averaged, 1e-6)

"""FedProx against its oracle, against FedAvg, and with stragglers."""

import pytest

from fl_research import client_data
from fl_research.algorithms.optimization import fed_prox
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_prox as oracle
from tests.oracles import softmax_regression as problem


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


@pytest.mark.parametrize('mu', [0.1, 1.0])
def test_equals_oracle(mu):
  rounds = harness.cohorts(epochs=3)
  expected = oracle.run(harness.model().initial_weights[0], rounds, harness.RATE, mu)
  harness.assert_same(harness.run(harness.build(fed_prox.build(mu=mu)), rounds), expected)


def test_no_proximal_term_is_fed_avg():
  rounds = harness.cohorts(epochs=2)
  ours = harness.run(harness.build(fed_prox.build(mu=0.0)), rounds)
  harness.assert_same(ours, harness.run(harness.plain(), rounds), 0)


def test_partial_work_of_stragglers_counts():
  epochs = (0.5, 3.0, 1.4)
  rounds = [
    [
      client_data.client_data(
        examples, batch_size=problem.BATCH, epochs=e, seed=7, round_num=r, client=k
      )
      for k, (examples, e) in enumerate(zip(problem.clients(), epochs))
    ]
    for r in range(1, 4)
  ]
  assert [len(data['batches']) for data in rounds[0]] == [2, 6, 6]
  expected = oracle.run(harness.model().initial_weights[0], rounds, harness.RATE, 0.5)
  harness.assert_same(harness.run(harness.build(fed_prox.build(mu=0.5)), rounds), expected)

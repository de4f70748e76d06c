"""FedACG against its oracle, FedProx and FedAvg."""

import pytest
import tensorflow_federated as tff

from fl_research.algorithms.optimization import fed_acg
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_acg as oracle

START = harness.model().initial_weights[0]


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _build(momentum, beta, server_rate=1.0):
  return harness.build(
    fed_acg.build(momentum=momentum, beta=beta),
    client_weighting='uniform',
    server_optimizer=tff.learning.optimizers.build_sgdm(server_rate),
  )


# A server rate tells m from the last step, and β > 0 where clients begin from where they are held.
@pytest.mark.parametrize('momentum, beta, server_rate', [(0.7, 0.5, 1.0), (0.4, 0.2, 0.5)])
def test_equals_oracle(momentum, beta, server_rate):
  rounds = harness.cohorts(epochs=2, rounds=4)
  expected = oracle.run(START, rounds, harness.RATE, momentum, beta, server_rate)
  harness.assert_same(harness.run(_build(momentum, beta, server_rate), rounds), expected)


def test_without_momentum_and_term_it_is_fed_avg():
  rounds = harness.cohorts(epochs=2)
  averaged = harness.run(harness.plain('uniform'), rounds)
  harness.assert_same(harness.run(_build(0.0, 0.0), rounds), averaged, 1e-6)

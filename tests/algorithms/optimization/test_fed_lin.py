"""FedLin against its oracle, FedSGD and Mime."""

import pytest

from fl_research import client_data
from fl_research.algorithms.optimization import fed_lin, fed_sgd, mime
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_lin as oracle

START = harness.model().initial_weights[0]


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _build(method):
  return harness.build(method, client_weighting='uniform')


@pytest.mark.parametrize('even', [False, True])
def test_equals_oracle(even):
  rounds = harness.cohorts(epochs=2)
  expected = oracle.run(START, rounds, harness.RATE, even)
  harness.assert_same(harness.run(_build(fed_lin.build(even=even)), rounds), expected)


def test_with_full_batches_it_is_mime_and_with_one_step_fed_sgd():
  built = _build(fed_lin.build(even=False))
  base = {'beta_1': 0.9, 'beta_2': 0.99, 'epsilon': 1e-3, 'initial_accumulator': 0.1}
  rounds = harness.cohorts(batch_size=client_data.FULL_BATCH, epochs=3)
  mimicked = harness.run(_build(mime.build(base='sgd', **base)), rounds)
  harness.assert_same(harness.run(built, rounds), mimicked)
  rounds = harness.cohorts(batch_size=client_data.FULL_BATCH)
  [at_rate_one] = harness.run(_build(fed_sgd.build()), rounds[:1])
  expected = [w + harness.RATE * (a - w) for a, w in zip(at_rate_one, START)]
  harness.assert_same(harness.run(built, rounds[:1]), [expected])

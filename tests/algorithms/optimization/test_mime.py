"""Mime against its oracle and against FedSGD."""

import numpy as np
import pytest
import tensorflow_federated as tff

from fl_research import algorithms, client_data, runtime
from fl_research.algorithms.optimization import fed_sgd
from tests.algorithms import harness
from tests.oracles import mime as oracle
from tests.oracles import mime_lite

CONSTANTS = {
  'beta_1': mime_lite.BETA_1,
  'beta_2': mime_lite.BETA_2,
  'epsilon': mime_lite.EPSILON,
  'initial_accumulator': mime_lite.START,
}


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with runtime.use_context('fused', chunks=2):
    yield


def _build(base):
  method = algorithms.build('mime', {'base': base, **CONSTANTS})
  return harness.build(method, client_weighting='uniform')


def test_equals_oracle():
  # The second half pass is no part of the gradient over all examples.
  rounds = harness.cohorts(epochs=1.5)
  process, start = _build('adam'), harness.model().initial_weights[0]
  ours, expected = harness.run(process, rounds), oracle.run(start, rounds, harness.RATE, 'adam')
  harness.assert_same(ours, expected)
  uncorrected = mime_lite.run(start, rounds, harness.RATE, 'adam')
  assert np.abs(ours[0][0] - uncorrected[0][0]).max() > 1e-4
  size = sum(w.nbytes for w in start)  # Down: x, then x, m, v and c; up: a gradient, an update.
  assert process.bytes_down_per_client == 5 * size + 2 * 4
  assert process.bytes_up_per_client == 2 * size + 2 * 4


def test_one_local_step_is_the_base_optimizer_on_this_rounds_gradient():
  # Other clients in every round: what an earlier round's c, or none, would do is something else.
  everybody = harness.cohorts(client_data.FULL_BATCH)
  rounds = [everybody[0][:1], everybody[1][1:], everybody[2][:2]]
  rate = (1 - mime_lite.BETA_1) * harness.RATE
  optimizer = tff.learning.optimizers.build_sgdm(rate, mime_lite.BETA_1)
  central = harness.build(fed_sgd.build(), server_optimizer=optimizer, client_weighting='uniform')
  process, rounds_of_fed_sgd = _build('momentum'), harness.run(central, rounds)
  harness.assert_same(harness.run(process, rounds), rounds_of_fed_sgd, 1e-6)
  # And c is kept between the trips: the mean of the cohort's gradients at x.
  result = process.run_round(process.initialize(), rounds[0])
  start = harness.model().initial_weights[0]
  gradient = oracle.flat.full_gradient(oracle.flat.join(start), rounds[0][0])
  kept = oracle.flat.join(result.state['server']['method'][1])
  np.testing.assert_allclose(kept, gradient, rtol=1e-5, atol=1e-6)

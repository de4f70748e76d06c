"""Per-FedAvg against its oracle and FedAvg, and what its clients use."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from fl_research import optimizers
from fl_research.algorithms.personal import per_fed_avg
from fl_research.round import client as client_lib
from fl_research.round import server_half
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fairness, flat
from tests.oracles import per_fed_avg as oracle

START = harness.model().initial_weights[0]


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


@functools.cache
def _process(alpha, delta):
  method = per_fed_avg.build(alpha=alpha, delta=delta)
  return harness.build(method, client_weighting='uniform')


@pytest.mark.parametrize('delta', [0.0, 0.1])
def test_equals_oracle(delta):
  rounds = harness.cohorts(epochs=2)
  expected = oracle.run(START, rounds, harness.RATE, 0.3, delta or None)
  harness.assert_same(harness.run(_process(0.3, delta), rounds), expected)


def test_hf_stands_for_the_hessian():
  # The gradient of f(w - α ∇f(w)) by w, by differences of the function, where D = D' = D''.
  [cohort] = harness.cohorts(batch_size=20, rounds=1)
  data, w, alpha = cohort[2], flat.join(START), 0.5
  value = lambda at: fairness.loss(at - alpha * flat.full_gradient(at, data), data)
  unit = np.eye(len(w)) * 1e-5
  slope = np.array([(value(w + e) - value(w - e)) / 2e-5 for e in unit])
  [found] = harness.run(_process(alpha, 0.1), [[data]])
  np.testing.assert_allclose((w - flat.join(found)) / harness.RATE, slope, rtol=0, atol=2e-4)


def test_no_step_is_fed_avg():
  # With one minibatch, which is the one after it, too.
  rounds = harness.cohorts(batch_size=20)
  found = harness.run(_process(0.0, 0.0), rounds)
  harness.assert_same(found, harness.run(harness.plain('uniform'), rounds), 1e-6)


def test_clients_use_what_a_step_makes_of_the_global_model():
  process, [cohort] = _process(0.3, 0.0), harness.cohorts(rounds=1)
  server = tf.nest.map_structure(tf.convert_to_tensor, process.initialize()['server'])
  client = client_lib.Client(harness.model(), optimizers.build('sgd', 0.1, {}), cohort[2])
  predict = process.method.predictor(server_half.server_of(server), client)
  w = flat.join(START)
  kernel, bias = flat.split(w - 0.3 * flat.full_gradient(w, cohort[2]))
  found = predict(tf.constant(np.eye(4, dtype=np.float32)))
  np.testing.assert_allclose(found, kernel + bias, rtol=1e-5, atol=1e-6)

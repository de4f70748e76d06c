"""FedNova against its oracle and against FedAvg."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import client_data
from fl_research.algorithms.optimization import fed_avg, fed_nova
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_nova as oracle
from tests.oracles import flat


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _optimizer(momentum):
  return tff.learning.optimizers.build_sgdm(harness.RATE, momentum or None)


@pytest.mark.parametrize(('momentum', 'mu'), [(0.0, 0.0), (0.9, 0.0), (0.0, 0.5)])
def test_equals_oracle(momentum, mu):
  rounds = harness.cohorts(epochs=2)
  assert len({len(data['batches']) for data in rounds[0]}) > 1
  process = harness.build(fed_nova.build(mu=mu), client_optimizer=_optimizer(momentum))
  start = harness.model().initial_weights[0]
  expected = oracle.run(start, rounds, harness.RATE, momentum, mu)
  harness.assert_same(harness.run(process, rounds), expected)


@pytest.mark.parametrize('momentum', [0.0, 0.9])
def test_equal_steps_are_fed_avg(momentum):
  rounds = harness.cohorts(batch_size=client_data.FULL_BATCH, epochs=3)
  optimizer = _optimizer(momentum)
  ours = harness.run(harness.build(fed_nova.build(mu=0.0), client_optimizer=optimizer), rounds)
  theirs = harness.run(harness.build(fed_avg.build(), client_optimizer=optimizer), rounds)
  harness.assert_same(ours, theirs, 1e-6)


def test_unequal_steps_are_not_fed_avg():
  rounds = harness.cohorts(epochs=2)
  ours = harness.run(harness.build(fed_nova.build(mu=0.0)), rounds)
  theirs = harness.run(harness.plain(), rounds)
  assert max(np.abs(a - b).max() for a, b in zip(ours[-1], theirs[-1])) > 1e-3


@pytest.mark.parametrize(('steps', 'momentum', 'mu'), [(1, 0.9, 0.0), (7, 0.5, 0.0), (7, 0.0, 2.0)])
def test_sum_of_coefficients_is_the_papers(steps, momentum, mu):
  ours = fed_nova.sum_of_coefficients(tf.constant(steps), tf.constant(0.1), momentum, mu)
  np.testing.assert_allclose(ours, oracle.coefficients(steps, 0.1, momentum, mu).sum(), rtol=1e-6)


def test_momentum_and_proximal_term_together():
  # |a_i| is then what the optimiser makes of unit gradients, by hand: with ρ = 0.5, ημ = 0.1 the
  # accumulator is 1, 0.5 + 1 - 0.1 = 1.4, 0.7 + 1 - 0.24 = 1.46.
  ours = fed_nova.sum_of_coefficients(tf.constant(3), tf.constant(0.1), 0.5, 1.0)
  np.testing.assert_allclose(ours, 1.0 + 1.4 + 1.46, rtol=1e-6)
  rounds = harness.cohorts(epochs=2, rounds=1)
  process = harness.build(fed_nova.build(mu=1.0), client_optimizer=_optimizer(0.5))
  start = flat.join(harness.model().initial_weights[0])
  p, total, effective = flat.shares(rounds[0]), 0.0, 0.0
  for share, data in zip(p, rounds[0]):
    trained, steps = oracle.train(start, data, harness.RATE, 0.5, 1.0)
    size = float(fed_nova.sum_of_coefficients(tf.constant(steps), tf.constant(0.1), 0.5, 1.0))
    total, effective = total + share * (trained - start) / size, effective + share * steps
  expected = [flat.split(start + effective * total)]
  harness.assert_same(harness.run(process, rounds), expected)

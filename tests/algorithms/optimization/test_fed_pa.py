"""FedPA against its oracle, with the covariance written out, and FedAvg."""

import numpy as np
import pytest
import tensorflow as tf

from fl_research.algorithms.optimization import fed_pa
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_pa as oracle

START = harness.model().initial_weights[0]


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _build(samples, burn_in, rho, burn_in_rounds=0):
  return harness.build(
    fed_pa.build(samples=samples, burn_in=burn_in, burn_in_rounds=burn_in_rounds, rho=rho)
  )


def test_equals_oracle_after_rounds_of_burn_in():
  # Of batches of 4, clients take 9, 6 and 12 steps: parts of unequal lengths.
  rounds = harness.cohorts(epochs=3, rounds=4)
  expected = oracle.run(START, rounds, harness.RATE, 4, 0.4, 2.0, burn_in_rounds=1)
  harness.assert_same(harness.run(_build(4, 0.4, 2.0, 1), rounds), expected)


def test_of_fewer_steps_than_samples_each_is_a_sample():
  rounds = harness.cohorts(rounds=2)
  expected = oracle.run(START, rounds, harness.RATE, 8, 0.0, 0.5)
  harness.assert_same(harness.run(_build(8, 0.0, 0.5), rounds), expected)


def test_with_nothing_but_burn_in_it_is_fed_avg():
  rounds = harness.cohorts(epochs=2)
  averaged = harness.run(harness.plain(), rounds)
  harness.assert_same(harness.run(_build(3, 1.0, 0.5), rounds), averaged, 1e-6)


@pytest.mark.parametrize('rho', [0.0, 1e-3, 1.0, 100.0])
def test_posterior_delta_solves_with_the_shrunk_covariance(rho):
  rng = np.random.default_rng(5)
  samples = rng.normal(size=(6, 9))
  start = rng.normal(size=9)
  drawn = np.array([True, True, False, True, True, False])
  parts = lambda rows: (rows[..., :4], rows[..., 4:])
  found = fed_pa.posterior_delta(
    tuple(tf.constant(p, tf.float32) for p in parts(samples)),
    tf.constant(drawn),
    tuple(tf.constant(p, tf.float32) for p in parts(start)),
    rho,
  )
  expected = oracle.delta(samples[drawn], start, rho)
  np.testing.assert_allclose(np.concatenate(found), expected, rtol=2e-5, atol=1e-4)

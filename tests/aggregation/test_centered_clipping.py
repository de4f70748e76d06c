"""Centred clipping against its oracle, its limits, and what its memory does."""

import numpy as np
import pytest
import tensorflow as tf

from fl_research import aggregation, runtime
from fl_research.registry import UsageError
from tests.aggregation import seven_clients
from tests.algorithms import harness
from tests.oracles import centered_clipping as oracle

TAU = 0.05


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with runtime.use_context('fused', chunks=2):
    yield


def _rule(tau, iterations=1):
  return aggregation.build('centered_clipping', {'tau': tau, 'iterations': iterations})


def test_equals_oracle_whose_memory_matters():
  rounds = seven_clients.cohorts()
  ours = harness.run(seven_clients.build(_rule(TAU, 2)), rounds)
  harness.assert_same(ours, seven_clients.expected(oracle.rule(TAU, 2), rounds))
  forgetful = seven_clients.expected(oracle.rule(TAU, 2, remembers=False), rounds)
  harness.assert_same(ours[:1], forgetful[:1])  # Nothing is remembered in the first round.
  assert max(np.abs(a - b).max() for a, b in zip(ours[1], forgetful[1])) > 1e-3


def _next(rule, memory, updates):
  """The aggregate of [n, d] updates, which also is what is remembered."""
  memory, updates = (tf.constant(memory, tf.float32),), tf.constant(updates, tf.float32)
  combined, after = rule.next(memory, (updates,), tf.ones(len(updates)), ())
  np.testing.assert_array_equal(combined[0], after[0])
  return after[0].numpy()


@pytest.mark.parametrize('iterations', [1, 3])
def test_equals_oracle_on_updates_of_any_length(iterations):
  rule, expected = _rule(1.0, iterations), oracle.rule(1.0, iterations)
  memory = rule.initial_memory((tf.zeros(5),))[0]
  for scale in (0.1, 1.0, 30.0):
    updates = scale * np.random.default_rng(1).normal(size=(4, 5))
    memory = _next(rule, memory, updates)
    np.testing.assert_allclose(memory, expected(updates, None), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('iterations', [1, 2])
def test_a_radius_that_nothing_reaches_is_the_unweighted_mean(iterations):
  updates = np.random.default_rng(2).normal(size=(4, 5))
  actual = _next(_rule(1e6, iterations), np.full(5, 3.0), updates)
  np.testing.assert_allclose(actual, updates.mean(axis=0), rtol=1e-5, atol=1e-6)


def test_by_hand():
  # Around (1, 0): at distance 0, at distance 1 within τ = 2, at distance 5 shortened to 2.
  actual = _next(_rule(2.0), [1.0, 0.0], [[1, 0], [1, 1], [4, 4]])
  np.testing.assert_allclose(actual, [1 + 1.2 / 3, (1 + 1.6) / 3], rtol=1e-6)


@pytest.mark.parametrize('value', [1e12, 3e38])
def test_one_client_moves_the_aggregate_by_a_bounded_way(value):
  moved = _next(_rule(2.0, iterations=2), [0.0, 0.0], [[0, 0], [0, 0], [value, -value]])
  assert np.linalg.norm(moved) <= 2 * 2.0 / 3 * (1 + 1e-5)


@pytest.mark.parametrize('key, value', [('tau', 0.0), ('iterations', 0)])
def test_bad_hyperparameters_are_refused(key, value):
  with pytest.raises(UsageError, match=f'--centered_clipping_{key}={value}: accepted is'):
    aggregation.build('centered_clipping', {key: value})

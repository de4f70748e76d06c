"""Robust aggregators against their oracles, over three rounds of the whole process, and alone."""

import math

import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

from fl_research import aggregation
from fl_research.aggregation import mean, stacked
from fl_research.population.attacks import attack as attack_lib
from fl_research.registry import UsageError
from tests import contexts
from tests.aggregation import seven_clients
from tests.algorithms import harness
from tests.oracles import robust_aggregation as oracle

CASES = {
  'mean': ('mean', {}, oracle.mean()),
  'median': ('median', {}, oracle.median()),
  'trimmed_mean': ('trimmed_mean', {'fraction': 0.3}, oracle.trimmed_mean(0.3)),
  'krum': ('krum', {'f': 2}, oracle.krum(2)),
  'multi_krum': ('multi_krum', {'f': 2, 'm': 3}, oracle.multi_krum(2, 3)),
  'geometric_median': ('geometric_median', {}, oracle.geometric_median(10, 1e-6)),
  'geometric_median, 3 steps': (
    'geometric_median',
    {'iterations': 3, 'smoothing': 0.1},
    oracle.geometric_median(3, 0.1),
  ),
  'fedmgda': ('fedmgda', {'epsilon': 0.08}, oracle.fedmgda(0.08)),
  'fedmgda, free': ('fedmgda', {'epsilon': 1.0}, oracle.fedmgda(1.0)),
  'norm_bounding': ('norm_bounding', {'bound': 0.05}, oracle.norm_bounding(0.05)),
  'norm_bounding, adaptive': (
    'norm_bounding',
    {'bound': 0.05, 'quantile': 0.8},
    oracle.norm_bounding(0.05, 0.8),
  ),
  'zeroing': (
    'zeroing',
    {'bound': 0.02, 'quantile': 0.5, 'multiplier': 1.5, 'increment': 0.01},
    oracle.zeroing(0.02, 0.5, math.log(10.0), 1.5, 0.01),
  ),
  'zeroing, fixed': (
    'zeroing',
    {'bound': 0.04, 'quantile': 0.0},
    oracle.zeroing(0.04, 0.0, 1.0, 2.0, 1.0),
  ),
}


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


@pytest.mark.parametrize('case', CASES)
def test_equals_oracle(case):
  name, hyperparameters, rule = CASES[case]
  rounds = seven_clients.cohorts()
  process = seven_clients.build(aggregation.build(name, hyperparameters))
  expected = seven_clients.expected(rule, rounds)
  harness.assert_same(harness.run(process, rounds), expected)
  if name != 'mean':
    mean = seven_clients.expected(oracle.mean(), rounds)
    assert np.abs(mean[0][0] - expected[0][0]).max() > 1e-4  # The rule has something to do.


REDUCTIONS = {
  'trimmed(0) is the mean': ('trimmed_mean', {'fraction': 0.0}, 'uniform'),
  'multi_krum(m = n) is the mean': ('multi_krum', {'f': 0, 'm': 7}, 'uniform'),
  'no Weiszfeld step is the weighted mean': (
    'geometric_median',
    {'iterations': 0},
    'num_examples',
  ),
  'a bound that nothing reaches': ('norm_bounding', {'bound': 1e6}, 'num_examples'),
  'nothing to zero': ('zeroing', {}, 'num_examples'),
}


@pytest.mark.parametrize('case', REDUCTIONS)
def test_reduces_to_the_mean(case):
  name, hyperparameters, weighting = REDUCTIONS[case]
  rounds = seven_clients.cohorts()
  ours = seven_clients.build(aggregation.build(name, hyperparameters), client_weighting=weighting)
  mean = seven_clients.mean(weighting)
  harness.assert_same(harness.run(ours, rounds), harness.run(mean, rounds), 1e-6)


def test_multi_krum_of_one_is_krum():
  rounds = seven_clients.cohorts()
  one = seven_clients.build(aggregation.build('multi_krum', {'f': 2, 'm': 1}))
  krum = seven_clients.build(aggregation.build('krum', {'f': 2}))
  harness.assert_same(harness.run(one, rounds), harness.run(krum, rounds), 0)


def _combine(name, updates, weights=None, **hyperparameters):
  """A registered rule on float32 [n, d] updates; see `_combine_by`."""
  return _combine_by(aggregation.build(name, hyperparameters), updates, weights)


def _combine_by(rule, updates, weights=None):
  """The rule on float32 [n, d] updates, split over two tensors."""
  updates = np.asarray(updates, np.float32)
  weights = np.ones(len(updates), np.float32) if weights is None else np.float32(weights)
  half = updates.shape[1] // 2
  parts = (tf.constant(updates[:, :half, None]), tf.constant(updates[:, half:]))
  first, second = tf.function(rule.combine, autograph=False)(parts, tf.constant(weights))
  return np.concatenate([first.numpy()[:, 0], second.numpy()])


def test_the_stacked_mean_weights_updates():
  updates, weights = np.random.default_rng(5).normal(size=(4, 5)), [1.0, 2.0, 4.0, 0.5]
  expected = np.average(updates, axis=0, weights=weights)
  np.testing.assert_allclose(_combine_by(mean.StackedMean(), updates, weights), expected, rtol=1e-5)


def test_median_by_hand():
  updates = np.array([[1, 50, -3, 0], [2, 40, -1, 0], [100, 30, -2, 9]])
  np.testing.assert_array_equal(_combine('median', updates), [2, 40, -2, 0])
  even = np.vstack([updates, [4, 10, -9, 1]])
  np.testing.assert_array_equal(_combine('median', even), [3, 35, -2.5, 0.5])


# What the last one removes would be all, but for its rounding.
REMOVED = [(0.09, 0), (0.1, 1), (0.29, 2), (0.3, 3), (0.49, 4), (0.4999999999, 4)]


@pytest.mark.parametrize('fraction, removed', REMOVED)
def test_trimmed_mean_removes_the_fraction_rounded_down(fraction, removed):
  updates = np.random.default_rng(0).normal(size=(10, 6)) ** 3
  kept = np.sort(updates, axis=0)[removed : 10 - removed]
  actual = _combine('trimmed_mean', updates, fraction=fraction)
  np.testing.assert_allclose(actual, kept.mean(axis=0), rtol=1e-5, atol=1e-7)


def test_trimmed_mean_of_an_odd_number_may_leave_the_median():
  updates = np.random.default_rng(3).normal(size=(7, 4))
  median = np.median(np.float32(updates), axis=0)
  np.testing.assert_array_equal(_combine('trimmed_mean', updates, fraction=0.49), median)


def test_trimmed_mean_does_not_lose_a_client_to_binary_fractions():
  # 0.29 * 100 is 28.999999999999996 in floating point.
  updates = np.random.default_rng(0).normal(size=(100, 4))
  kept = np.sort(updates, axis=0)[29:71]
  np.testing.assert_allclose(
    _combine('trimmed_mean', updates, fraction=0.29), kept.mean(axis=0), rtol=1e-4, atol=1e-6
  )


@pytest.mark.parametrize('name, more', [('krum', {}), ('multi_krum', {'m': 4})])
def test_krum_with_identical_honest_clients_returns_them(name, more):
  honest = np.random.default_rng(1).normal(size=40)
  liars = np.random.default_rng(2).normal(size=(3, 40)) * 5
  updates = np.vstack([liars[:2], np.tile(honest, (6, 1)), liars[2:]])
  np.testing.assert_allclose(_combine(name, updates, f=3, **more), np.float32(honest), rtol=1e-6)


@pytest.mark.parametrize('m', [1, 2, 3])
def test_multi_krum_averages_the_best(m):
  updates = np.random.default_rng(4).normal(size=(7, 5))
  expected = oracle.multi_krum(2, m)(updates, None)
  np.testing.assert_allclose(_combine('multi_krum', updates, f=2, m=m), expected, rtol=1e-5)


def test_krum_of_equal_scores_is_the_first_client():
  # The corners of a square: every score is the same.
  corners = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]], np.float32)
  np.testing.assert_array_equal(_combine('krum', corners, f=0), corners[0])


def test_krum_of_too_few_clients_looks_at_one_neighbour():
  updates = np.array([[0, 0], [1, 0], [10, 0], [12, 0]], np.float32)
  np.testing.assert_array_equal(_combine('krum', updates, f=3), updates[0])


def test_distances_of_updates_that_lie_close_together():
  # Far from the origin, near to each other: float32 products would leave nothing but rounding.
  rng = np.random.default_rng(3)
  center = rng.normal(size=(1, 70_000)) * 10  # Two blocks of columns.
  updates = np.float32(center + 1e-4 * rng.normal(size=(6, 70_000)) * np.arange(1, 7)[:, None])
  exact = np.sum((updates[:, None].astype(np.float64) - updates[None]) ** 2, axis=2)
  ours = stacked.squared_distances(stacked.gram((tf.constant(updates),)))
  np.testing.assert_allclose(ours, exact, rtol=1e-5, atol=1e-7)
  chosen = _combine('krum', updates, f=1)
  np.testing.assert_array_equal(chosen, oracle.krum(1)(updates.astype(np.float64), None))


def test_geometric_median_of_many_steps_is_the_minimiser():
  rng = np.random.default_rng(4)
  updates = np.vstack([rng.normal(size=(8, 6)), 30 + rng.normal(size=(3, 6))])
  weights = rng.uniform(1, 5, 11)
  objective = lambda v: weights @ np.linalg.norm(updates - v, axis=1)
  best = scipy.optimize.minimize(objective, np.median(updates, axis=0), tol=1e-12).x
  actual = _combine('geometric_median', updates, weights, iterations=500)
  np.testing.assert_allclose(actual, best, atol=1e-4)


def test_geometric_median_of_points_that_are_the_same_is_that_point():
  update = np.random.default_rng(5).normal(size=20)
  actual = _combine('geometric_median', np.tile(update, (5, 1)), iterations=5)
  np.testing.assert_allclose(actual, update, rtol=1e-6)


@pytest.mark.parametrize(
  'name, settings',
  [
    ('median', {}),
    ('trimmed_mean', {'fraction': 0.3}),
    ('krum', {'f': 2}),
    ('multi_krum', {'f': 2, 'm': 5}),
    ('geometric_median', {'iterations': 300}),
  ],
)
def test_numbers_near_the_largest_do_not_overflow(name, settings):
  updates = np.random.default_rng(6).normal(size=(7, 8)).astype(np.float32)
  honest = np.linalg.norm(updates[:5], axis=1).max()
  updates[5:] = 3e38
  assert np.linalg.norm(_combine(name, updates, **settings)) < 2 * honest


@pytest.mark.parametrize('value', [1e12, 1e30, 3e38])
def test_norm_bounding_bounds_whatever_is_sent(value):
  class Shout(attack_lib.Attack):
    def poison_update(self, update, weight, seed):
      return tuple(tf.fill(tensor.shape, value) for tensor in update)

  process = seven_clients.build(
    aggregation.build('norm_bounding', {'bound': 0.5}), attack=Shout(), attackers=(2,)
  )
  history = harness.run(process, seven_clients.cohorts(rounds=1))
  start = harness.model().initial_weights[0]
  moved = np.concatenate([np.ravel(a - b) for a, b in zip(history[0], start)])
  assert np.linalg.norm(moved) <= 0.5 * (1 + 1e-5)


@pytest.mark.parametrize(
  'size, f, fits', [(3, 0, True), (2, 0, False), (7, 2, True), (6, 2, False)]
)
@pytest.mark.parametrize('name', ['krum', 'multi_krum'])
def test_krum_needs_more_than_2f_plus_2(name, size, f, fits):
  own = {'f': f, **({'m': 1} if name == 'multi_krum' else {})}
  if fits:
    aggregation.check_cohort(name, own, size)
  else:
    with pytest.raises(UsageError, match=f'--{name}_f={f}: .*--clients_per_round is {size}'):
      aggregation.check_cohort(name, own, size)


def test_multi_krum_cannot_average_more_than_there_are():
  own = {'f': 1, 'm': 8}
  with pytest.raises(
    UsageError, match='--multi_krum_m=8: more updates than a round has; accepted is 1 to 7'
  ):
    aggregation.check_cohort('multi_krum', own, 7)
  aggregation.check_cohort('multi_krum', own, 8)


@pytest.mark.parametrize(
  'name, key, value',
  [
    ('trimmed_mean', 'fraction', 0.5),
    ('trimmed_mean', 'fraction', -0.1),
    ('krum', 'f', -1),
    ('multi_krum', 'm', 0),
    ('geometric_median', 'smoothing', 0.0),
    ('geometric_median', 'iterations', -1),
    ('norm_bounding', 'bound', 0.0),
    ('norm_bounding', 'quantile', 1.1),
    ('zeroing', 'bound', float('inf')),
  ],
)
def test_bad_hyperparameters_are_refused(name, key, value):
  with pytest.raises(UsageError, match=f'--{name}_{key}={value}: accepted is'):
    aggregation.build(name, {key: value})

"""MimeLite against its oracle and against FedAvg."""

import numpy as np
import pytest
import tensorflow as tf

from fl_research import algorithms, runtime
from fl_research.algorithms.optimization import fed_avg, mime_lite
from fl_research.registry import UsageError
from tests.algorithms import harness
from tests.oracles import mime_lite as oracle

CONSTANTS = {
  'beta_1': oracle.BETA_1,
  'beta_2': oracle.BETA_2,
  'epsilon': oracle.EPSILON,
  'initial_accumulator': oracle.START,
}


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with runtime.use_context('fused', chunks=2):
    yield


def _build(base):
  method = algorithms.build('mimelite', {'base': base, **CONSTANTS})
  return harness.build(method, client_weighting='uniform')


def test_equals_oracle():
  # The second half pass is no part of the gradient over all examples.
  rounds = harness.cohorts(epochs=1.5)
  process, start = _build('adam'), harness.model().initial_weights[0]
  harness.assert_same(harness.run(process, rounds), oracle.run(start, rounds, harness.RATE, 'adam'))
  size = sum(w.nbytes for w in start)  # Down: x, m and v; up: an update and a gradient.
  assert process.bytes_down_per_client == 3 * size + 4
  assert process.bytes_up_per_client == 2 * size + 4


@pytest.mark.parametrize('name', ['sgd', 'momentum', 'adam', 'adagrad'])
def test_bases_equal_the_papers_table(name):
  base = mime_lite.Base(name, **CONSTANTS)
  statistics = base.initial((tf.zeros(6),))
  m, v = np.zeros(6), np.full(6, oracle.START)
  for g in np.random.default_rng(5).normal(size=(3, 6)):
    gradient = (tf.constant(g, tf.float32),)
    direction = base.direction(gradient, statistics)[0]
    np.testing.assert_allclose(direction, oracle.move(name, g, m, v), rtol=1e-5)
    statistics, (m, v) = base.renewed(gradient, statistics), oracle.track(name, g, m, v)
    kept = {'m': m, 'v': v}
    for key, (value,) in statistics.items():
      np.testing.assert_allclose(value, kept[key], rtol=1e-5)


def test_with_base_sgd_it_is_fed_avg():
  rounds = harness.cohorts(rounds=2)
  averaged = harness.build(fed_avg.build(), client_weighting='uniform')
  ours = harness.run(_build('sgd'), rounds)
  harness.assert_same(ours, harness.run(averaged, rounds), 1e-6)
  start = harness.model().initial_weights[0]
  slower = oracle.run(start, rounds, harness.RATE, 'momentum')
  assert np.abs(ours[0][0] - slower[0][0]).max() > 1e-3


@pytest.mark.parametrize(
  'key, value', [('base', 'rmsprop'), ('beta_1', 1.0), ('beta_2', -0.1), ('epsilon', 0.0)]
)
def test_bad_hyperparameters_are_refused(key, value):
  with pytest.raises(UsageError, match=f'--mimelite_{key}={value}: accepted is'):
    algorithms.build('mimelite', {key: value})

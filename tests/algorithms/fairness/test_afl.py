"""AFL against its oracle and against FedAvg."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from fl_research.algorithms.fairness import afl
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fairness as oracle

START = harness.model().initial_weights[0]
RATE = 0.3


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


@functools.cache
def _process(rate=RATE):
  return harness.build(afl.build(mixture_learning_rate=rate))


def _run(process, rounds):
  """Weights, mixture and largest share after every round."""
  state, found = process.initialize(), []
  for cohort in rounds:
    result = process.run_round(state, cohort)
    state = result.state
    share = float(result.measured['method']['largest_share'])
    found.append((process.model_weights(state), np.asarray(state['server']['method'][0]), share))
  return zip(*found)


def test_equals_oracle_when_clients_are_missing():
  rounds = harness.cohorts(epochs=2)
  rounds[1] = rounds[1][:2]
  rounds[2] = rounds[2][1:]
  expected, expected_mixtures = oracle.afl(START, rounds, harness.RATE, RATE, 3)
  history, mixtures, shares = _run(_process(), rounds)
  harness.assert_same(history, expected)
  np.testing.assert_allclose(mixtures, expected_mixtures, atol=1e-6)
  np.testing.assert_allclose(shares, np.max(mixtures, axis=1), rtol=1e-6)
  assert np.ptp(mixtures[-1]) > 0.1


def test_mixtures_that_stay_are_fed_avg():
  rounds = harness.cohorts(epochs=2)
  averaged = harness.run(harness.plain('uniform'), rounds)
  harness.assert_same(harness.run(_process(0.0), rounds), averaged, 1e-6)


@pytest.mark.parametrize(
  ('vector', 'expected'),
  [
    ([0.2, 0.3, 0.5], [0.2, 0.3, 0.5]),
    ([0.5, 0.5, 0.5, 0.5], [0.25, 0.25, 0.25, 0.25]),
    ([3.0, 0.0, 1.0], [1.0, 0.0, 0.0]),
    ([0.9, 0.1, 0.7], [0.6, 0.0, 0.4]),
    ([-5.0], [1.0]),
  ],
)
def test_projection(vector, expected):
  np.testing.assert_allclose(afl.projected(tf.constant(vector)), expected, atol=1e-6)


def test_without_population_it_is_not_built():
  with pytest.raises(ValueError, match='population size'):
    harness.build(afl.build(mixture_learning_rate=0.1), population_size=None)

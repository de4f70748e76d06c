"""FedExP against its oracle and against FedAvg."""

import functools

import numpy as np
import pytest
import tensorflow_federated as tff

from fl_research.algorithms.optimization import fed_exp
from fl_research.round import server_half
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_exp as oracle


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


EPSILON = 1e-4


@functools.cache
def _process(epsilon=EPSILON, client_weighting='uniform', server_rate=1.0):
  return harness.build(
    fed_exp.build(epsilon=epsilon),
    client_weighting=client_weighting,
    server_optimizer=tff.learning.optimizers.build_sgdm(server_rate),
  )


def _steps(process, rounds):
  """Global weights after every round, and every round's server step."""
  state, history, steps = process.initialize(), [], []
  for cohort in rounds:
    result = process.run_round(state, cohort)
    state = result.state
    history.append(process.model_weights(state))
    steps.append(float(result.measured['method']['server_step']))
  return history, steps


def test_the_first_step_is_that_of_fed_avg():
  assert (
    float(
      _process().method.measures(server_half.server_of(_process().initialize()['server']))[
        'server_step'
      ]
    )
    == 1.0
  )


def test_equals_oracle():
  rounds = harness.cohorts(epochs=2)
  start = harness.model().initial_weights[0]
  expected, expected_steps = oracle.run(start, rounds, harness.RATE, EPSILON)
  history, steps = _steps(_process(), rounds)
  assert max(expected_steps) > 1.05, 'no round goes further than the mean'
  harness.assert_same(history, expected)
  np.testing.assert_allclose(steps, expected_steps, rtol=1e-5)


def test_a_large_epsilon_is_fed_avg():
  rounds = harness.cohorts(epochs=2)
  found = harness.run(_process(epsilon=1e6), rounds)
  harness.assert_same(found, harness.run(harness.plain('uniform'), rounds), 0)


def test_one_client_alone_is_fed_avg():
  # |Δ_i|² / 2 |Δ|² is a half.
  rounds = [cohort[:1] for cohort in harness.cohorts()]
  found = harness.run(_process(), rounds)
  harness.assert_same(found, harness.run(harness.plain('uniform'), rounds), 0)


def test_weighted_clients_weigh_in_both_means():
  [cohort] = harness.cohorts(rounds=1)
  [found], [step] = _steps(_process(client_weighting='num_examples'), [cohort])
  start = harness.model().initial_weights[0]
  w, p = oracle.flat.join(start), oracle.flat.shares(cohort)
  deltas = np.array([oracle.flat.descend(w, data, harness.RATE)[0] - w for data in cohort])
  mean = p @ deltas
  expected = p @ np.sum(deltas**2, axis=1) / (2 * (mean @ mean + EPSILON))
  assert expected > 1
  np.testing.assert_allclose(step, expected, rtol=1e-5)
  harness.assert_same([found], [oracle.flat.split(w + expected * mean)])


def test_the_servers_rate_multiplies_the_step():
  rounds = harness.cohorts(rounds=1)
  start = harness.model().initial_weights[0]
  [whole] = harness.run(_process(), rounds)
  [found] = harness.run(_process(server_rate=0.5), rounds)
  harness.assert_same([found], [[(a + b) / 2 for a, b in zip(start, whole)]], 1e-6)

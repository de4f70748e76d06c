"""pFedMe against its oracle, and where it is something simpler."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.algorithms.personal import p_fed_me
from fl_research.round.objective import Gradient, Objective
from tests import contexts
from tests.algorithms import harness
from tests.oracles import flat
from tests.oracles import p_fed_me as oracle

START = harness.model().initial_weights[0]


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


@functools.cache
def _process(regularization, steps, rate, server_rate=1.0):
  method = p_fed_me.build(
    regularization=regularization, personal_steps=steps, personal_learning_rate=rate
  )
  return harness.build(
    method,
    client_weighting='uniform',
    server_optimizer=tff.learning.optimizers.build_sgdm(server_rate),
  )


def test_equals_oracle():
  given, rounds = (2.0, 3, 0.2, 0.7), harness.cohorts(epochs=2)
  history, kept = harness.run_with_clients(_process(*given), rounds)
  expected, personal = oracle.run(START, rounds, harness.RATE, *given)
  harness.assert_same(history, expected)
  states = [kept[k]['method'] for k in range(3)]
  harness.assert_same(states, [personal[k] for k in range(3)])


def test_one_step_from_the_global_model_is_scaled_fed_avg():
  # With one minibatch θ = w - ρ g, which w follows by η λ ρ g.
  rounds = harness.cohorts(batch_size=20)
  found = harness.run(_process(2.0, 1, 0.5), rounds)
  harness.assert_same(found, harness.run(harness.plain('uniform'), rounds), 1e-6)


def test_models_that_are_not_tied_leave_the_global_one_alone():
  rounds, start = harness.cohorts(rounds=1), flat.join(START)
  history, kept = harness.run_with_clients(_process(0.0, 1, harness.RATE), rounds)
  harness.assert_same(history, [START], 0)
  descended = [flat.split(flat.descend(start, data, harness.RATE)[0]) for data in rounds[0]]
  harness.assert_same([kept[k]['method'] for k in range(3)], descended)


class _SeedAsGradient(Objective):
  """A gradient that is the last number of its seed, so that steps show which seeds they had."""

  def gradient(self, weights, batch, seed, carry):
    return Gradient((tf.cast(seed[1:], tf.float64),), tf.zeros([0, 0]), carry)


def test_every_step_drops_out_others():
  # With λ = 0, ρ = -1 and from 0, the steps add up what their seeds are.
  ends = []
  for steps in (1, 2, 3):
    envelope = p_fed_me.Envelope(_SeedAsGradient(), 0.0, steps, -1.0)
    start = (tf.zeros([1], tf.float64),)
    ends.append(float(envelope.gradient(start, None, tf.constant([3, 5]), start).carry[0][0]))
  seeds = np.diff([0.0, *ends])
  assert len(set(seeds)) == 3

"""TERM among clients against its oracle and against FedAvg."""

import functools

import numpy as np
import pytest

from fl_research.algorithms.fairness import term
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fairness as oracle

START = harness.model().initial_weights[0]


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


@functools.cache
def _process(t):
  return harness.build(term.build(t=t))


@pytest.mark.parametrize('t', [-1.0, 2.0])
def test_equals_oracle(t):
  rounds = harness.cohorts(epochs=2)
  expected = oracle.term(START, rounds, harness.RATE, t)
  harness.assert_same(harness.run(_process(t), rounds), expected)


def test_no_tilt_is_fed_avg():
  rounds = harness.cohorts(epochs=2)
  averaged = harness.run(harness.plain('uniform'), rounds)
  harness.assert_same(harness.run(_process(0.0), rounds), averaged, 1e-6)


def test_a_client_whose_weight_is_not_finite_is_left_out():
  # e^{t F} is beyond any float for the client of the highest loss, and within for the others.
  rounds = harness.cohorts(rounds=1)
  w = oracle.flat.join(START)
  losses = [oracle.loss(w, data) for data in rounds[0]]
  highest = int(np.argmax(losses))
  t = 1.05 * 88.7 / max(losses)
  assert all(t * f < 88.0 for k, f in enumerate(losses) if k != highest), losses
  process = _process(float(t))
  state, measured = process.next(process.initialize(), rounds[0])
  assert int(measured['participants']) == 2
  left = [[data for k, data in enumerate(rounds[0]) if k != highest]]
  expected = oracle.term(START, left, harness.RATE, t)
  harness.assert_same([process.model_weights(state)], expected, 1e-4)

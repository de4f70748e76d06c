"""FedSAM and FedASAM against their oracle, FedAvg, and each other."""

import functools

import pytest

from fl_research.algorithms.optimization import fed_asam, fed_sam
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_sam as oracle

START = harness.model().initial_weights[0]


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


@functools.cache
def _ball():
  return harness.build(fed_sam.build(rho=0.3))


def _run(method, rounds):
  return harness.run(harness.build(method), rounds)


def test_equals_oracle():
  rounds = harness.cohorts(epochs=2)
  expected = oracle.run(START, rounds, harness.RATE, 0.3)
  harness.assert_same(harness.run(_ball(), rounds), expected)


def test_adaptive_equals_oracle():
  rounds = harness.cohorts(epochs=2)
  expected = oracle.run(START, rounds, harness.RATE, 0.8, nu=0.1)
  harness.assert_same(_run(fed_asam.build(rho=0.8, nu=0.1), rounds), expected)


def test_no_neighbourhood_is_fed_avg():
  rounds = harness.cohorts(epochs=2)
  averaged = harness.run(harness.plain(), rounds)
  harness.assert_same(_run(fed_sam.build(rho=0.0), rounds), averaged, 1e-6)
  harness.assert_same(_run(fed_asam.build(rho=0.0, nu=0.2), rounds), averaged, 1e-6)


def test_neighbourhoods_that_weights_do_not_shape_are_balls():
  rounds = harness.cohorts(epochs=2)
  wide = _run(fed_asam.build(rho=0.3 / 1e4, nu=1e4), rounds)
  harness.assert_same(wide, harness.run(_ball(), rounds), 1e-4)

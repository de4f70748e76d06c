"""FedCM and MoFedSAM against their oracles, FedAvg, and each other."""

import functools

import pytest
import tensorflow_federated as tff

from fl_research.algorithms.optimization import fed_cm, fed_sam, mo_fed_sam
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_cm as oracle
from tests.oracles import fed_sam as sharpness_oracle

START = harness.model().initial_weights[0]


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _build(method, **parts):
  return harness.build(method, client_weighting='uniform', **parts)


def test_equals_oracle():
  rounds = harness.cohorts(epochs=2)
  process = _build(
    fed_cm.build(alpha=0.3), server_optimizer=tff.learning.optimizers.build_sgdm(0.5)
  )
  expected = oracle.run(START, rounds, harness.RATE, 0.3, server_rate=0.5)
  harness.assert_same(harness.run(process, rounds), expected)


def test_mo_fed_sam_equals_oracle():
  rounds = harness.cohorts(epochs=2)
  local = functools.partial(sharpness_oracle.descend, 0.2, None)
  expected = oracle.run(START, rounds, harness.RATE, 0.3, descend=local)
  found = harness.run(_build(mo_fed_sam.build(rho=0.2, beta=0.3)), rounds)
  harness.assert_same(found, expected)


def test_the_gradient_alone_is_fed_avg():
  rounds = harness.cohorts(epochs=2)
  found = harness.run(_build(fed_cm.build(alpha=1.0)), rounds)
  harness.assert_same(found, harness.run(harness.plain('uniform'), rounds), 1e-6)


def test_mo_fed_sam_of_the_gradient_alone_is_fed_sam():
  rounds = harness.cohorts(epochs=2)
  found = harness.run(_build(mo_fed_sam.build(rho=0.2, beta=1.0)), rounds)
  harness.assert_same(found, harness.run(_build(fed_sam.build(rho=0.2)), rounds), 1e-6)


def test_directions_are_sent_both_ways_and_steps_counted():
  process = _build(fed_cm.build(alpha=0.3))
  size = sum(w.nbytes for w in START)
  assert process.bytes_down_per_client == 2 * size + 4
  assert process.bytes_up_per_client == size + 4 + 4

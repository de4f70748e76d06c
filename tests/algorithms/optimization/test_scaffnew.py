"""Scaffnew against its oracle, FedSGD and FedAvg."""

import functools

import numpy as np
import pytest
import tensorflow_federated as tff

from fl_research import client_data, registry
from fl_research.algorithms.optimization import fed_sgd, scaffnew
from tests import contexts
from tests.algorithms import harness
from tests.oracles import scaffnew as oracle

START = harness.model().initial_weights[0]


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


@functools.cache
def _process():
  return harness.build(scaffnew.build(), client_weighting='uniform')


def test_equals_oracle():
  rounds = harness.cohorts(epochs=2)
  history, kept = harness.run_with_clients(_process(), rounds)
  expected, _ = oracle.run(START, rounds, harness.RATE)
  _, variates = oracle.run(START, rounds[:-1], harness.RATE)
  harness.assert_same(history, expected)
  found = [kept[k]['method']['variate'] for k in range(3)]
  harness.assert_same(found, [oracle.flat.split(variates[k]) for k in range(3)])
  assert max(np.abs(v).max() for v in variates.values()) > 0.1


def test_one_step_is_fed_sgd():
  rounds = harness.cohorts(batch_size=client_data.FULL_BATCH)
  sgd = harness.build(
    fed_sgd.build(),
    server_optimizer=tff.learning.optimizers.build_sgdm(harness.RATE),
    client_weighting='uniform',
  )
  harness.assert_same(harness.run(_process(), rounds), harness.run(sgd, rounds), 1e-6)


def test_the_first_round_is_that_of_fed_avg_and_the_second_is_not():
  rounds = harness.cohorts(epochs=2)
  ours, theirs = harness.run(_process(), rounds), harness.run(harness.plain('uniform'), rounds)
  harness.assert_same(ours[:1], theirs[:1], 1e-6)
  assert max(np.abs(a - b).max() for a, b in zip(ours[1], theirs[1])) > 1e-3


def test_only_models_are_sent():
  process, plain = _process(), harness.plain('uniform')
  assert process.bytes_up_per_client == plain.bytes_up_per_client
  assert process.bytes_down_per_client == plain.bytes_down_per_client


def test_who_comes_late_has_no_variate_yet():
  rounds = harness.cohorts(epochs=2)
  rounds[0] = rounds[0][:2]
  _, kept = harness.run_with_clients(_process(), rounds[:2])
  assert all(np.all(v == 0) for v in kept[2]['method']['variate'])
  assert any(np.any(v != 0) for v in kept[1]['method']['variate'])


def test_a_part_of_the_clients_is_refused():
  harness.build(scaffnew.build(), cohort_size=3)
  with pytest.raises(registry.UsageError, match=r'--clients_per_round=2: .*accepted is 3, their'):
    harness.build(scaffnew.build(), cohort_size=2)

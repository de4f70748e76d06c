"""L2GD against its oracle, FedAvg and local training."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from fl_research import optimizers, registry
from fl_research.algorithms.personal import l2gd, local
from fl_research.round import client as client_lib
from fl_research.round import server_half
from fl_research.training import client_states
from tests import contexts
from tests.algorithms import harness
from tests.oracles import flat
from tests.oracles import l2gd as oracle

START = harness.model().initial_weights[0]


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


@functools.cache
def _process(pull):
  return harness.build(l2gd.build(pull=pull), client_weighting='uniform')


def _run(process, rounds):
  """The process's state at the end, the mean after every round, and the clients' states."""
  state, kept, history = process.initialize(), client_states.build(process), []
  for cohort in rounds:
    state = process.run_round(state, cohort, kept).state
    history.append(process.model_weights(state))
  return state, history, [each['method'] for each in kept.get(range(3))]


def test_equals_oracle():
  rounds = harness.cohorts(epochs=2)
  process = _process(0.3)
  state, history, kept = _run(process, rounds)
  expected, own = oracle.run(START, rounds, harness.RATE, 0.3)
  harness.assert_same(history, expected)
  # What clients use has met the last mean, which they have not been sent yet.
  x = np.eye(4, dtype=np.float32)
  server = server_half.server_of(tf.nest.map_structure(tf.constant, state['server']))
  for k in range(3):
    model = [tf.constant(w) for w in kept[k]]
    client = client_lib.Client(harness.model(), optimizers.build('sgd', 0.1, {}), None, model)
    found = process.method.predictor(server, client)(tf.constant(x))
    kernel, bias = own[k]
    np.testing.assert_allclose(found, x @ kernel + bias, rtol=1e-5, atol=1e-5)
  assert np.abs(flat.join(own[0]) - flat.join(own[1])).max() > 0.05


def test_a_full_pull_is_fed_avg():
  rounds = harness.cohorts(epochs=2)
  _, history, _ = _run(_process(1.0), rounds)
  harness.assert_same(history, harness.run(harness.plain('uniform'), rounds), 1e-6)


def test_no_pull_is_local_training():
  rounds = harness.cohorts(epochs=2)
  _, history, kept = _run(_process(0.0), rounds)
  _, alone = harness.run_with_clients(harness.build(local.build()), rounds)
  harness.assert_same(kept, [alone[k]['method'] for k in range(3)], 0)
  mean = [np.mean(of_clients, axis=0) for of_clients in zip(*kept)]
  harness.assert_same(history[-1:], [mean], 1e-6)


def test_who_fails_to_come_keeps_its_model():
  rounds = harness.cohorts()
  _, _, whole = _run(_process(0.3), rounds[:1])
  _, _, kept = _run(_process(0.3), [rounds[0], rounds[1][:2]])
  harness.assert_same(kept[2:], whole[2:], 0)
  assert np.abs(kept[1][0] - whole[1][0]).max() > 1e-3


def test_only_models_are_sent():
  process, plain = _process(0.3), harness.plain('uniform')
  assert process.bytes_up_per_client == plain.bytes_up_per_client
  assert process.bytes_down_per_client == plain.bytes_down_per_client


def test_a_part_of_the_clients_is_refused():
  harness.build(l2gd.build(pull=0.5), cohort_size=3)
  with pytest.raises(registry.UsageError, match=r'--clients_per_round=2: .*l2gd.*accepted is 3, t'):
    harness.build(l2gd.build(pull=0.5), cohort_size=2)

"""FedALA against its oracle and FedAvg."""

import numpy as np
import pytest
import tensorflow as tf

from fl_research import optimizers, registry
from fl_research.algorithms.optimization import fed_avg
from fl_research.algorithms.personal import fed_ala
from fl_research.round import client as client_lib
from fl_research.round import server_half
from tests import contexts
from tests.algorithms import harness
from tests.oracles import two_layers as oracle


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _process(rate=1.0, layers='last'):
  method = fed_ala.build(layers=layers, mixture_learning_rate=rate, first_passes=3)
  return harness.build(method, model=harness.two_layers())


def _rounds():
  """Four rounds: the last client comes in the second, in which the first one is away."""
  rounds = harness.cohorts(epochs=2, rounds=4)
  rounds[0] = rounds[0][:2]
  rounds[1] = rounds[1][1:]
  return rounds


def test_equals_oracle():
  # A rate at which some shares are clipped and others are not.
  history, kept = harness.run_with_clients(_process(rate=20.0), _rounds())
  expected, models, shares = oracle.fed_ala(
    harness.two_layers().initial_weights[0], _rounds(), harness.RATE, 20.0, 3
  )
  harness.assert_same(history, expected)
  for client in range(3):
    state = kept[client]['method']
    harness.assert_same([state['model'], state['shares']], [models[client], shares[client]])
    assert int(state['times']) == 2
  every = np.concatenate([np.ravel(s) for own in shares.values() for s in own])
  assert {0.0, 1.0} <= set(every) and np.any((every > 0.01) & (every < 0.99))


def test_shares_that_stay_are_fed_avg():
  plain = harness.build(fed_avg.build(), model=harness.two_layers())
  found = harness.run(_process(rate=0.0), _rounds())
  harness.assert_same(found, harness.run(plain, _rounds()), 1e-6)


def test_who_has_trained_once_answers_with_its_own_model():
  process, data = _process(), _rounds()[0][1]
  _, kept = harness.run_with_clients(process, [[data]])
  own, x = kept[1]['method'], data['examples']['x']
  server = server_half.Server(harness.two_layers().initial_weights[0], (), ())
  found = {}
  for times in (0, 1, 2):
    state = tf.nest.map_structure(tf.constant, dict(own, times=times))
    client = client_lib.Client(harness.two_layers(), optimizers.build('sgd', 0.1, {}), data, state)
    found[times] = process.method.predictor(server, client)(tf.constant(x)).numpy()
  assert int(own['times']) == 1
  answers = lambda weights: harness.two_layers().predict_on_batch((tuple(weights), ()), x, False)
  np.testing.assert_allclose(found[0], answers(server.weights), rtol=1e-5, atol=1e-6)
  for times in (1, 2):
    np.testing.assert_allclose(found[times], answers(own['model']), rtol=1e-5, atol=1e-6)
  assert np.abs(found[0] - found[1]).max() > 1e-3


def test_layers_that_are_not_there_are_refused():
  with pytest.raises(registry.UsageError, match='--fedala_layers=conv: the model has no layer'):
    _process(layers='conv')

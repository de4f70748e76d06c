"""DBE against its oracle and FedAvg."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from fl_research import models, optimizers, registry
from fl_research.algorithms.personal import dbe
from fl_research.datasets.federated_data import Problem
from fl_research.round import client as client_lib
from fl_research.round import server_half
from fl_research.training import client_states
from tests import contexts
from tests.algorithms import harness
from tests.oracles import dbe as oracle
from tests.oracles import of_features, two_layers
from tests.oracles import softmax_regression as problem

KAPPA, MU = 4.0, 0.6


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _rounds():
  """The last client is away in the first of four rounds: it has no part in the centre."""
  rounds = harness.cohorts(epochs=2, rounds=4)
  rounds[0] = rounds[0][:2]
  return rounds


@functools.cache
def _run():
  """The process, weights by round, the server's own state by round, and the clients' vectors."""
  process = harness.build(dbe.build(regularization=KAPPA, momentum=MU), model=harness.two_layers())
  state, kept = process.initialize(), client_states.build(process)
  history, own = [], []
  for cohort in _rounds():
    state = process.run_round(state, cohort, kept).state
    history.append(process.model_weights(state))
    own.append(state['server']['method'])
  return process, history, own, [each['method']['bias'] for each in kept.get(range(3))]


def test_equals_oracle():
  _, history, own, found = _run()
  expected, biases, centre = oracle.run(
    harness.two_layers().initial_weights[0], _rounds(), harness.RATE, KAPPA, MU
  )
  harness.assert_same(history, expected)
  harness.assert_same([found], [[biases[k] for k in range(3)]])
  # Fixed from the first round on.
  harness.assert_same([[each['centre']] for each in own], [[centre]] * 4)
  assert [float(each['known']) for each in own] == [1.0] * 4


def test_both_parts_count_in_these_runs():
  """The deviations that a missing term would make are far above the tolerance."""
  start = harness.two_layers().initial_weights[0]
  with_both, biases, _ = oracle.run(start, _rounds(), harness.RATE, KAPPA, MU)
  without, _, _ = oracle.run(start, _rounds(), harness.RATE, 0.0, MU)
  assert max(np.abs(a - b).max() for a, b in zip(with_both[-1], without[-1])) > 1e-2
  assert min(np.abs(bias).max() for bias in biases.values()) > 1e-2


def test_the_first_round_is_fed_avg():
  cohort, shares = _rounds()[0], []
  trained = []
  for data in cohort:
    own = [np.array(w, np.float64) for w in harness.two_layers().initial_weights[0]]
    for x, y in problem.batches(data):
      own = [w - harness.RATE * g for w, g in zip(own, two_layers.gradient(own, x, y))]
    trained.append(own)
    shares.append(float(data['num_examples']))
  expected = [np.average(np.array(parts), axis=0, weights=shares) for parts in zip(*trained)]
  harness.assert_same(_run()[1][:1], [expected])


def test_answers_with_the_vector_added():
  process, history, _, biases = _run()
  weights, x = history[-1], problem.clients()[2]['x']
  server = server_half.Server(tuple(map(tf.constant, weights)), (), ())

  def answers(bias):
    state = {'bias': tf.constant(bias)}
    client = client_lib.Client(harness.two_layers(), optimizers.build('sgd', 0.1, {}), None, state)
    return process.method.predictor(server, client)(tf.constant(x))

  z = of_features.features(weights, x)
  expected = (z + biases[2]) @ weights[2] + weights[3]
  np.testing.assert_allclose(answers(biases[2]), expected, rtol=1e-5, atol=1e-5)
  generic = z @ weights[2] + weights[3]
  np.testing.assert_allclose(answers(np.zeros(8, np.float32)), generic, rtol=1e-5, atol=1e-5)


def test_models_without_features_are_refused():
  length, tokens = 5, np.dtype(np.int32)
  spec = models.ModelSpec((length,), tokens, (length,), tokens, Problem.NEXT_TOKEN, 7)
  method = dbe.build(regularization=1.0, momentum=1.0)
  with pytest.raises(registry.UsageError, match=r'=dbe: .*given more than a vector for each'):
    harness.build(method, model=models.build('char_lstm', spec, 1))


def test_a_last_layer_that_is_not_trained_is_refused():
  last = harness.two_layers().weight_names[-1].rpartition('/')[0]
  frozen = models.build('mlp', harness.two_layers().spec, 3, freeze=last)
  with pytest.raises(registry.UsageError, match=r'=dbe: .*do not --freeze its last layer'):
    harness.build(dbe.build(regularization=1.0, momentum=1.0), model=frozen)

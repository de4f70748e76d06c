"""MOON, FedProto, kNN-Per and FedRoD against their oracles, FedAvg and training alone."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from fl_research import models, optimizers, registry
from fl_research.algorithms.optimization import moon
from fl_research.algorithms.personal import fed_proto, fed_rod, knn_per
from fl_research.datasets.federated_data import Problem
from fl_research.round import client as client_lib
from fl_research.round import server_half
from fl_research.training import client_states
from tests import contexts
from tests.algorithms import harness
from tests.oracles import of_features as oracle
from tests.oracles import softmax_regression as problem


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


START = harness.two_layers().initial_weights[0]


def _build(method, **parts):
  return harness.build(method, model=harness.two_layers(), **parts)


def test_moon_equals_its_oracle():
  expected = oracle.moon(START, harness.uneven_rounds(), harness.RATE, 2.0, 0.5)
  harness.assert_same(
    harness.run(_build(moon.build(mu=2.0, tau=0.5)), harness.uneven_rounds()), expected
  )
  without = oracle.moon(START, harness.uneven_rounds(), harness.RATE, 0.0, 0.5)
  assert max(np.abs(a - b).max() for a, b in zip(expected[-1], without[-1])) > 1e-3
  found = harness.run(_build(moon.build(mu=0.0, tau=0.5)), harness.uneven_rounds())
  harness.assert_same(found, without)


@functools.cache
def _prototypes():
  """The process, its last state, what clients keep, and prototypes and who is known by round."""
  process = _build(fed_proto.build(regularization=3.0), client_weighting='uniform')
  state, kept, history = process.initialize(), client_states.build(process), []
  for cohort in harness.uneven_rounds():
    state = process.run_round(state, cohort, kept).state
    history.append(state['server']['method'])
  return process, state, kept, history


def test_fedproto_equals_its_oracle():
  _, _, kept, history = _prototypes()
  expected, models = oracle.fed_proto(
    START, harness.uneven_rounds(), harness.RATE, 3.0, problem.CLASSES
  )
  for found, prototypes in zip(history, expected, strict=True):
    assert found['known'].tolist() == [float(p is not None) for p in prototypes]
    for own, prototype in zip(found['prototypes'], prototypes, strict=True):
      if prototype is not None:
        np.testing.assert_allclose(own, prototype, rtol=1e-5, atol=1e-5)
  for client, model in models.items():
    [state] = kept.get([client])
    harness.assert_same([state['method']['model']], [model])


def test_fedproto_answers_the_nearest_prototype():
  process, state, kept, _ = _prototypes()
  x = problem.clients()[2]['x']
  server = tf.nest.map_structure(tf.constant, state['server'])
  [own] = kept.get([2])
  client = client_lib.Client(
    harness.two_layers(),
    optimizers.build('sgd', 0.1, {}),
    None,
    tf.nest.map_structure(tf.constant, own['method']),
  )
  scores = process.method.predictor(server_half.server_of(server), client)(tf.constant(x))
  away = oracle.features(own['method']['model'], x)[:, None] - server['method']['prototypes']
  np.testing.assert_allclose(scores, -np.square(away).sum(axis=2), rtol=1e-4, atol=1e-5)
  server['method']['known'] = tf.constant([1.0, 0.0, 1.0])
  scores = process.method.predictor(server_half.server_of(server), client)(tf.constant(x))
  assert np.all(np.argmin(scores, axis=1) == 1)


def test_fedproto_sends_no_model_and_without_pull_trains_alone():
  process, _, _, _ = _prototypes()
  numbers = problem.CLASSES * (8 + 1) + 1  # And the weight.
  assert process.bytes_up_per_client == 4 * numbers
  # By this nobody is answered by a global model, which was never trained.
  assert process.method.shares(harness.two_layers().weight_names) == (False,) * 4
  alone = _build(fed_proto.build(regularization=0.0), client_weighting='uniform')
  _, kept = harness.run_with_clients(alone, harness.uneven_rounds())
  _, models = oracle.fed_proto(START, harness.uneven_rounds(), harness.RATE, 0.0, problem.CLASSES)
  harness.assert_same([kept[1]['method']['model']], [models[1]])


@pytest.mark.parametrize(('neighbours', 'weight'), [(3, 0.4), (100, 1.0), (1, 0.0)])
def test_knn_per_equals_its_oracle(neighbours, weight):
  method = knn_per.build(neighbours=neighbours, weight=weight, scale=0.7)
  data, x = harness.cohorts(epochs=2)[0][1], problem.clients()[2]['x']
  client = client_lib.Client(harness.two_layers(), optimizers.build('sgd', 0.1, {}), data)
  server = server_half.Server(START, (), ())
  found = np.exp(method.predictor(server, client)(tf.constant(x)))
  own = data['examples']
  expected = oracle.knn_per(START, own['x'], own['y'], x, neighbours, weight, 0.7, problem.CLASSES)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@functools.cache
def _two_heads(gamma):
  """Weights by round, and the clients' states, of a run of FedRoD; the process."""
  process = _build(fed_rod.build(gamma=gamma))
  return *harness.run_with_clients(process, harness.uneven_rounds()), process


def test_fedrod_equals_its_oracle():
  # The first client lacks a class. The head learns only if its gradient is taken apart, and the
  # model would move otherwise if any of that gradient came to it.
  history, kept, _ = _two_heads(1.0)
  expected, heads = oracle.fed_rod(
    START, harness.uneven_rounds(), harness.RATE, 1.0, problem.CLASSES
  )
  harness.assert_same(history, expected)
  for client, head in heads.items():
    state = kept[client]['method']
    harness.assert_same([[state['kernel'], state['bias']]], [head])
    assert np.abs(head[0]).max() > 0.01


def test_fedrod_unbalanced_is_fed_avg_beside_heads():
  found, _, _ = _two_heads(0.0)
  harness.assert_same(found, oracle.moon(START, harness.uneven_rounds(), harness.RATE, 0.0, 1.0))


def test_fedrod_answers_with_both_heads():
  history, kept, process = _two_heads(1.0)
  own, weights, x = kept[2]['method'], history[-1], problem.clients()[2]['x']
  server = server_half.Server(tuple(map(tf.constant, weights)), (), ())
  client = client_lib.Client(
    harness.two_layers(),
    optimizers.build('sgd', 0.1, {}),
    None,
    tf.nest.map_structure(tf.constant, own),
  )
  found = process.method.predictor(server, client)(tf.constant(x))
  z = oracle.features(weights, x)
  expected = z @ (weights[2] + own['kernel']) + weights[3] + own['bias']
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
  nobody = tf.nest.map_structure(tf.zeros_like, client.state)
  newcomer = client_lib.Client(harness.two_layers(), optimizers.build('sgd', 0.1, {}), None, nobody)
  found = process.method.predictor(server, newcomer)(tf.constant(x))
  np.testing.assert_allclose(found, z @ weights[2] + weights[3], rtol=1e-5, atol=1e-5)


def test_models_without_features_are_refused():
  length, tokens = 5, np.dtype(np.int32)
  spec = models.ModelSpec((length,), tokens, (length,), tokens, Problem.NEXT_TOKEN, 7)
  with pytest.raises(registry.UsageError, match=r'=moon: .*given more than a vector for each'):
    harness.build(moon.build(mu=1.0, tau=1.0), model=models.build('char_lstm', spec, 1))


@pytest.mark.parametrize(
  'build',
  [
    lambda: knn_per.build(neighbours=1, weight=0.5, scale=1.0),
    lambda: fed_proto.build(regularization=1.0),
    lambda: fed_rod.build(gamma=1.0),
  ],
)
def test_tasks_without_classes_are_refused(build):
  with pytest.raises(registry.UsageError, match='accepted are tasks with one'):
    harness.build(build(), model=harness.tagger())

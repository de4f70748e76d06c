"""FedPAC against its oracle and FedRep."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from fl_research import optimizers
from fl_research.aggregation import simplex
from fl_research.algorithms.personal import fed_pac, fed_rep
from fl_research.round import client as client_lib
from fl_research.round import server_half
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_pac as oracle
from tests.oracles import softmax_regression as problem


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


START = harness.two_layers().initial_weights[0]


def _rounds():
  """The third client is away in the second round, and nobody has a class in the first."""
  rounds = harness.cohorts(epochs=2)
  rounds[1] = rounds[1][:2]
  for data in rounds[0]:
    labels = data['examples']['y']
    labels[:] = np.where(labels == 1, 2, labels)
  return rounds


@functools.cache
def _run(regularization, head_epochs):
  method = fed_pac.build(regularization=regularization, head_epochs=head_epochs)
  process = harness.build(method, model=harness.two_layers())
  state, history = process.initialize(), []
  for cohort in _rounds():
    state = process.run_round(state, cohort, None).state
    history.append(process.model_weights(state))
  return process, state, history


def test_equals_its_oracle():
  _, state, history = _run(3.0, 2)
  expected, heads, centroids, mixtures = oracle.run(
    START, _rounds(), harness.RATE, 3.0, problem.CLASSES, 2
  )
  harness.assert_same(history, expected)
  own = state['server']['method']
  for client, head in heads.items():
    harness.assert_same([[rows[client] for rows in own['heads']]], [head])
  np.testing.assert_allclose(own['centroids'], np.array(centroids), rtol=1e-5, atol=1e-5)
  # Some are mixed, not all alike.
  assert any(0.01 < m.max() < 0.99 for m in mixtures)
  assert len({tuple(np.round(m, 3)) for m in mixtures}) > 1
  without = oracle.run(START, _rounds(), harness.RATE, 0.0, problem.CLASSES, 2)[0]
  assert max(np.abs(a - b).max() for a, b in zip(expected[-1], without[-1])) > 1e-3


def test_whoever_is_alone_trains_as_in_fed_rep():
  rounds = [[cohort[1]] for cohort in harness.cohorts(epochs=2)]
  alone = fed_pac.build(regularization=0.0, head_epochs=2)
  found = harness.run(harness.build(alone, model=harness.two_layers()), rounds)
  rep = fed_rep.build(private_layers='last', head_epochs=2)
  harness.assert_same(
    found, harness.run(harness.build(rep, model=harness.two_layers()), rounds), 1e-6
  )


def test_answers_with_the_head_that_was_mixed_for_the_client():
  process, state, history = _run(3.0, 2)
  x = problem.clients()[2]['x']
  for number in (0, 2):
    client = client_lib.Client(
      harness.two_layers(), optimizers.build('sgd', 0.1, {}), {'client': tf.constant(number)}
    )
    server = server_half.server_of(tf.nest.map_structure(tf.constant, state['server']))
    found = process.method.predictor(server, client)(tf.constant(x))
    head = [rows[number] for rows in state['server']['method']['heads']]
    expected = oracle.features(history[-1], x) @ head[0] + head[1]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_mixtures_are_the_best_there_are():
  draw, minimise = np.random.default_rng(0), tf.function(simplex.minimise, autograph=False)
  for _ in range(20):
    root = draw.normal(size=(5, 3))
    form = root @ root.T + np.diag(draw.uniform(0.01, 1, 5))
    start = np.eye(5)[draw.integers(5)]
    found = minimise(*map(tf.constant, (form, start, np.zeros(5), np.ones(5))))
    np.testing.assert_allclose(found, oracle.best_mixture(form), atol=1e-6)

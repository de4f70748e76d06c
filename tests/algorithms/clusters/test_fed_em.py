"""FedEM against its oracle and FedAvg."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from fl_research import optimizers
from fl_research.algorithms.clusters import fed_em
from fl_research.datasets.federated_data import Problem
from fl_research.round import client as client_lib
from fl_research.round import server_half
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_em as oracle
from tests.oracles import softmax_regression as problem


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


@functools.cache
def _process(components=3):
  return harness.build(fed_em.build(components=components))


def _rounds():
  """Clients of two kinds, one of which is not there in the second round."""
  rounds = harness.cohorts(epochs=2)
  for data in (data for cohort in rounds for data in cohort):
    data['examples']['y'][1:] = min(data['client'], 1)
  rounds[1] = rounds[1][1:]
  return rounds


@functools.cache
def _run():
  """The process's state, its models after every round, and what clients keep."""
  process = _process()
  state, history = process.initialize(), []
  kept = harness.client_states.build(process)
  for cohort in _rounds():
    state = process.run_round(state, cohort, kept).state
    history.append(list(process.models(state).values()))
  return state, history, [each['method']['shares'] for each in kept.get(range(3))]


def test_equals_oracle():
  starts = list(_process().models(_process().initialize()).values())
  expected, shares = oracle.run(starts, _rounds(), harness.RATE)
  _, history, found = _run()
  for a, b in zip(history, expected, strict=True):
    harness.assert_same(a, b)
  np.testing.assert_allclose(found, [shares[k] for k in range(3)], rtol=1e-5)
  assert np.ptp(found, axis=0).max() > 0.05, 'clients mix alike'


def test_clients_use_their_mixture():
  state, history, shares = _run()
  x = problem.clients()[0]['x']
  for own in shares[:2]:
    client = client_lib.Client(
      harness.model(), optimizers.build('sgd', 0.1, {}), None, {'shares': tf.constant(own)}
    )
    server = server_half.server_of(tf.nest.map_structure(tf.constant, state['server']))
    found = _process().method.predictor(server, client)(tf.constant(x))
    expected = oracle.predict(history[-1], own, x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_one_model_is_fed_avg():
  rounds = harness.cohorts(epochs=2)
  state, history = _process(1).initialize(), []
  kept = harness.client_states.build(_process(1))
  for cohort in rounds:
    state = _process(1).run_round(state, cohort, kept).state
    history.append(_process(1).models(state)['model'])
  harness.assert_same(history, harness.run(harness.plain(), rounds), 1e-6)


@pytest.mark.parametrize(
  ('kind', 'expected'),
  [
    # 0.25 of p = 0.5 and 0.75 of p = 0.8: p = 0.725.
    (Problem.BINARY, np.log(0.725 / 0.275)),
    (Problem.MULTILABEL, np.log(0.725 / 0.275)),
    (Problem.REGRESSION, 0.75 * np.log(4)),
    (Problem.RECONSTRUCTION, 0.75 * np.log(4)),
  ],
)
def test_mixtures_of_other_answers(kind, expected):
  outputs = [tf.constant([[0.0]]), tf.constant([[np.log(4)]], tf.float32)]
  found = fed_em.mixture(outputs, tf.constant([0.25, 0.75]), kind)
  np.testing.assert_allclose(found, [[expected]], rtol=1e-6)


def test_a_share_of_zero_counts_nothing():
  outputs = [tf.constant([[100.0, 0.0]]), tf.constant([[0.0, 0.0]])]
  found = fed_em.mixture(outputs, tf.constant([0.0, 1.0]), Problem.CLASSIFICATION)
  np.testing.assert_allclose(found, np.log([[0.5, 0.5]]), rtol=1e-6)

"""FedFomo against its oracle, and whose models it sends."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from fl_research.algorithms.personal import fed_fomo
from fl_research.round import method as method_lib
from fl_research.training import client_states
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_fomo as oracle
from tests.oracles import flat

_START = harness.model().initial_weights[0]


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _rounds():
  """Five rounds, with a client away in two of them; the second one has an example only."""
  rounds = harness.cohorts(epochs=2, rounds=5)
  rounds[1] = rounds[1][1:]
  rounds[2] = rounds[2][::2]
  return rounds


def test_equals_oracle():
  method = fed_fomo.build(models=5, exploration=0.3, set_apart=3)
  process = harness.build(method, client_weighting='uniform')
  numbers = sum(w.size for w in _START)
  # Two others are all that there are: their models, who they are, and the rate's factor.
  assert process.bytes_down_per_client == 4 * (2 * (numbers + 1) + 1)
  state, kept, history = process.initialize(), client_states.build(process), []
  for cohort in _rounds():
    state = process.run_round(state, cohort[::-1], kept).state
    own = state['server']['method']
    history.append(np.array([flat.join(row) for row in zip(*own['models'])]))
  expected, preferences = oracle.run(_START, _rounds(), harness.RATE, 3)
  np.testing.assert_allclose(history, expected, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(own['preferences'], preferences, rtol=1e-4, atol=1e-5)
  models = [flat.join(each['method']) for each in kept.get(range(3))]
  np.testing.assert_allclose(models, history[-1], rtol=1e-6, atol=1e-6)
  assert own['known'].tolist() == [1.0] * 3
  # Some others do better than a client's own model, and some do not.
  off_diagonal = preferences[~np.eye(3, dtype=bool)]
  assert np.any(off_diagonal > 0.0)
  alone, _ = oracle.run(_START, _rounds(), harness.RATE, 100)
  assert np.abs(expected[-1] - alone[-1]).max() > 1e-2


def _chosen(exploration, known, rounds=1):
  method = fed_fomo.build(models=2, exploration=exploration, set_apart=5)
  bound = method.bind(method_lib.Federation(harness.model(), None, population_size=5, seed=3))
  preferences = tf.constant(np.arange(25.0).reshape(5, 5).astype(np.float32))
  chosen = []
  for number in range(rounds):
    own = collections.OrderedDict(
      models=[], preferences=preferences, known=tf.constant(known), rounds=tf.constant(number)
    )
    server = method_lib.Server((), own, ())
    models, others = bound.message(server)
    assert models == [] and others.shape == (5, 2)
    chosen.append(others.numpy())
  return np.array(chosen)


def test_the_preferred_are_sent_and_never_the_own():
  [chosen] = _chosen(0.0, [1.0] * 5)
  assert chosen.tolist() == [[4, 3], [4, 3], [4, 3], [4, 2], [3, 2]]
  # Who has never sent a model comes last.
  [chosen] = _chosen(0.0, [1.0, 1.0, 1.0, 0.0, 0.0])
  assert chosen.tolist() == [[2, 1], [2, 0], [1, 0], [2, 1], [2, 1]]


def test_explorers_are_sent_any_but_the_own():
  chosen = _chosen(1.0, [1.0] * 5, rounds=200)
  for client in range(5):
    counts = np.bincount(chosen[:, client].ravel(), minlength=5)
    assert counts[client] == 0
    # 400 draws over four others, of standard deviation below 9 each.
    assert np.all(np.abs(np.delete(counts, client) - 100) < 45)


def test_what_is_set_apart_is_trained_on_in_no_batch():
  data = harness.cohorts(epochs=2)[0][0]
  training, apart = fed_fomo.set_apart(tf.nest.map_structure(tf.constant, data), 4)
  [rows] = [sorted(r for r in apart['batches'].numpy().ravel() if r >= 0)]
  assert rows == oracle.apart(data, 4) == [3, 7]
  others = [r for r in training['batches'].numpy().ravel() if r >= 0]
  assert sorted(others) == sorted(2 * [0, 1, 2, 4, 5, 6, 8])

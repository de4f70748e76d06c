"""Lion and LAMB against their papers' formulas, by themselves and at client and server."""

import numpy as np
import pytest
import tensorflow as tf

from fl_research import optimizers
from fl_research.algorithms.optimization import fed_avg
from tests import contexts
from tests.algorithms import harness
from tests.oracles import flat, own_optimizers, softmax_regression

SETTINGS = {
  'lion': {'beta_1': 0.8, 'momentum_decay': 0.95, 'step_weight_decay': 0.01},
  'lamb': {'beta_1': 0.8, 'beta_2': 0.95, 'epsilon': 1e-3, 'step_weight_decay': 0.01},
}
NAMES = pytest.mark.parametrize('name', SETTINGS)


def build(name, rate=0.1, **changes):
  return optimizers.build(name, rate, {**SETTINGS[name], **changes})


@NAMES
@pytest.mark.parametrize('changes', [{}, {'step_weight_decay': 0.0}])
def test_equals_oracle(name, changes):
  # The bias is 0 at first, and one gradient: LAMB's ratio is then 1, Lion's sign 0.
  rng = np.random.default_rng(3)
  weights = (rng.normal(size=(3, 2)).astype(np.float32), np.zeros(2, np.float32))
  optimizer = build(name, **changes)
  twin = own_optimizers.TWINS[name](0.1, **{**SETTINGS[name], **changes})
  state = optimizer.initialize(tuple(tf.TensorSpec(w.shape, w.dtype) for w in weights))
  found, expected = tuple(map(tf.constant, weights)), [w.astype(np.float64) for w in weights]
  for number in range(5):
    gradients = [rng.normal(size=w.shape) * (number > 0 or w.ndim > 1) for w in weights]
    given = tuple(tf.constant(g, tf.float32) for g in gradients)
    state, found = optimizer.next(state, found, given)
    expected = twin.step(expected, gradients)
    for a, b in zip(found, expected, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@NAMES
def test_at_client_and_server_equals_oracle(name):
  """FedAvg, three rounds; a client's optimiser begins anew in each, the server's goes on."""
  start = harness.model().initial_weights[0]
  rounds = harness.cohorts(epochs=2)
  # By Lion's signs what is near 0 decides, where float32 may round to the other side: not with the
  # clients' data and these rates.
  with contexts.fused(2):
    process = harness.build(
      fed_avg.build(), client_optimizer=build(name, 0.05), server_optimizer=build(name, 0.1)
    )
    found = harness.run(process, rounds)
  twin = own_optimizers.TWINS[name]
  server, weights = twin(0.1, **SETTINGS[name]), [w.astype(np.float64) for w in start]
  for cohort, after in zip(rounds, found):
    moved = []
    for data in cohort:
      own, client = weights, twin(0.05, **SETTINGS[name])
      for x, y in softmax_regression.batches(data):
        own = client.step(own, softmax_regression.gradient(own, x, y))
      moved.append([o - w for o, w in zip(own, weights)])
    update = [np.tensordot(flat.shares(cohort), np.array(u), 1) for u in zip(*moved)]
    weights = server.step(weights, [-u for u in update])
    harness.assert_same([after], [weights])


@NAMES
def test_a_rate_of_0_moves_nothing_and_the_rate_can_be_set(name):
  optimizer = build(name)
  weights = (tf.constant([1.0, -2.0]),)
  state = optimizer.initialize((tf.TensorSpec([2]),))
  state = optimizer.set_hparams(state, {**optimizer.get_hparams(state), 'learning_rate': 0.0})
  _, after = optimizer.next(state, weights, (tf.constant([3.0, 4.0]),))
  np.testing.assert_array_equal(after[0], weights[0])

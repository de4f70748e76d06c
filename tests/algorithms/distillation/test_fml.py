"""FML against its oracle, FedAvg and local training."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import registry
from fl_research.algorithms.distillation import fml
from fl_research.algorithms.personal import local
from fl_research.round import minibatches
from tests import contexts
from tests.algorithms import harness
from tests.oracles import flat, softmax_regression
from tests.oracles import fml as oracle

START = harness.model().initial_weights[0]


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _some_clients():
  """Three rounds, clients 0 and 1 missing in the first two; two models differ from the start on."""
  return [
    [data for data in cohort if int(data['client']) != missing]
    for missing, cohort in enumerate(harness.cohorts(epochs=2))
  ]


def test_equals_oracle():
  """Other shares for the two, so that no exchange of them goes unnoticed."""
  rounds = _some_clients()
  process = harness.build(fml.build(alpha=0.7, beta=0.2))
  history, kept = harness.run_with_clients(process, rounds)
  expected, own = oracle.run(START, rounds, harness.RATE, 0.7, 0.2)
  harness.assert_same(history, expected)
  harness.assert_same([kept[k]['method'] for k in range(3)], [own[k] for k in range(3)])


def test_labels_alone_are_fed_avg_and_local_training():
  rounds = _some_clients()
  history, kept = harness.run_with_clients(harness.build(fml.build(alpha=1.0, beta=1.0)), rounds)
  harness.assert_same(history, harness.run(harness.plain(), rounds), 1e-6)
  _, alone = harness.run_with_clients(harness.build(local.build()), rounds)
  harness.assert_same(
    [kept[k]['method'] for k in range(3)], [alone[k]['method'] for k in range(3)], 1e-6
  )


def test_what_is_measured_is_the_own_model():
  data = harness.cohorts()[0][2]
  own = [w + 0.5 * np.cos(np.arange(w.size, dtype=np.float32)).reshape(w.shape) for w in START]
  model = harness.model().summing_squared_loss()  # As some ways to choose clients ask for.
  batch = minibatches.Minibatches(tf.nest.map_structure(tf.constant, data))[tf.constant(0)]
  both = tuple(tf.constant(w) for w in [*START, *own])
  found = fml.Mutual(model, (0.5, 0.5)).gradient(both, batch, None, ())
  output = model.predict_on_batch((tuple(own), ()), batch.x)
  losses = model.example_metrics(output, batch.y)['loss'] * batch.mask
  np.testing.assert_allclose(found.columns[1], losses, rtol=1e-6)
  np.testing.assert_allclose(found.columns[-1], losses**2, rtol=1e-5)


def test_models_that_agree_teach_each_other_nothing():
  logits = tf.constant([[1.0, -2.0, 0.5]])
  with tf.GradientTape() as tape:
    tape.watch(logits)
    lost = fml.divergence(logits, logits)
  np.testing.assert_allclose(lost, [0.0], atol=1e-7)
  np.testing.assert_allclose(tape.gradient(lost, logits), np.zeros((1, 3)), atol=1e-7)


def test_any_optimiser_moves_both():
  """Momentum, whose state is one of both models."""
  rounds = harness.cohorts(rounds=1)
  momentum = tff.learning.optimizers.build_sgdm(harness.RATE, 0.9)
  process = harness.build(fml.build(alpha=1.0, beta=1.0), client_optimizer=momentum)
  history, kept = harness.run_with_clients(process, rounds)
  alone = [_alone(data) for data in rounds[0]]
  harness.assert_same([kept[k]['method'] for k in range(3)], alone)
  mean = flat.shares(rounds[0]) @ np.array([flat.join(own) for own in alone])
  harness.assert_same(history, [flat.split(mean)])


def _alone(data):
  """Heavy ball over a client's batches, in NumPy."""
  own = flat.join(START)
  velocity = np.zeros_like(own)
  for x, y in softmax_regression.batches(data):
    velocity = 0.9 * velocity + flat.gradient(own, x, y)
    own = own - harness.RATE * velocity
  return flat.split(own)


def test_tasks_without_classes_are_refused():
  with pytest.raises(registry.UsageError, match=r'--algorithm=fml: .* accepted are tasks with one'):
    harness.build(fml.build(alpha=0.5, beta=0.5), model=harness.tagger())

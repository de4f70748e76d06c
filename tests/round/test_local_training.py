"""A client's passes over its batches, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.round import local_training
from tests.algorithms import harness
from tests.oracles import softmax_regression as oracle

MODEL = harness.model()
START = MODEL.initial_weights[0]
WEIGHTS = tuple(map(tf.constant, START))
OPTIMIZERS = {
  'sgd': tff.learning.optimizers.build_sgdm(0.1),
  'momentum': tff.learning.optimizers.build_sgdm(0.1, 0.9),
}
"""The first is the one whose rate the objective may multiply by."""


def client(**changes):
  return harness.cohorts(rounds=1, **changes)[0][0]  # Nine examples in batches of four.


def descend(batches, rate, momentum):
  """Weights after steps along these minibatches."""
  weights, moved = [np.float64(w) for w in START], [0.0, 0.0]
  for x, y in batches:
    gradient = oracle.gradient(weights, x, y)
    moved = [momentum * m + g for m, g in zip(moved, gradient)]
    weights = [w - rate * m for w, m in zip(weights, moved)]
  return weights


def train(optimizer, data, factor=1.0, **options):
  factor = tf.constant(factor)
  return local_training.train_locally(
    MODEL, OPTIMIZERS[optimizer], WEIGHTS, data, learning_rate_factor=factor, **options
  )


def assert_same(found, expected):
  for ours, theirs in zip(found, expected, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize('optimizer, momentum', [('sgd', 0.0), ('momentum', 0.9)])
def test_steps_are_the_optimizers_at_the_schedules_rate(optimizer, momentum):
  data = client(epochs=2)
  trained = train(optimizer, data, factor=0.5)
  assert_same(trained.weights, descend(oracle.batches(data), 0.05, momentum))
  assert (int(trained.num_steps), float(trained.sums['num'])) == (6, 18)


@pytest.mark.parametrize('optimizer, momentum', [('sgd', 0.0), ('momentum', 0.9)])
@pytest.mark.parametrize('epochs', [0.7, 2])
def test_passes_are_made_whatever_the_length_of_the_round(optimizer, momentum, epochs):
  data = client(epochs=epochs)
  batches = list(oracle.batches(data))
  trained = train(optimizer, data, passes=3)
  assert_same(trained.weights, descend((batches * 5)[:9], 0.1, momentum))
  assert int(trained.num_steps) == 9


@pytest.mark.parametrize('optimizer', OPTIMIZERS)
@pytest.mark.parametrize('trainable', [(True, False), (False, True)])
def test_only_what_is_trainable_moves(optimizer, trainable):
  trained = train(optimizer, client(), trainable=trainable)
  moved = tuple(bool(np.any(new != old)) for new, old in zip(trained.weights, START))
  assert moved == trainable


def test_metrics_are_those_before_each_step():
  data = client()
  trained = train('sgd', data)
  expected = {'num': 0.0, 'loss': 0.0, 'accuracy': 0.0}
  batches = list(oracle.batches(data))
  for number, (x, y) in enumerate(batches):
    kernel, bias = descend(batches[:number], 0.1, 0.0)
    logits = x @ kernel + bias
    log_p = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    expected['num'] += len(y)
    expected['loss'] -= log_p[np.arange(len(y)), y].sum()
    expected['accuracy'] += np.sum(logits.argmax(axis=1) == y)
  assert {name: float(value) for name, value in trained.sums.items()} == pytest.approx(
    expected, rel=1e-5
  )


def test_the_mean_gradient_is_over_examples_however_they_are_dealt_to_batches():
  data = client()
  gradient, sums = local_training.mean_gradient(MODEL, WEIGHTS, data)
  assert_same(gradient, oracle.gradient(START, data['examples']['x'], data['examples']['y']))
  assert float(sums['num']) == 9


def test_who_has_no_example_stays_and_has_no_gradient():
  nothing = client()
  nothing['batches'] = np.full((2, 4), -1, np.int32)
  assert_same(train('sgd', nothing).weights, START)
  gradient, sums = local_training.mean_gradient(MODEL, WEIGHTS, nothing)
  assert_same(gradient, [np.zeros_like(w) for w in START])
  assert float(sums['num']) == 0

"""Objectives: what local steps descend, and what they carry."""

import tensorflow as tf
import tensorflow_federated as tff

from fl_research.round import local_training
from fl_research.round import objective as objective_lib
from tests.algorithms import harness


class _HeavyBall(objective_lib.Objective):
  """Momentum, carried by the objective instead of the optimiser."""

  def __init__(self, loss):
    self._loss = loss

  def initial_carry(self, weights):
    return tuple(tf.zeros_like(w) for w in weights)

  def gradient(self, weights, batch, seed, carry):
    found = self._loss.gradient(weights, batch, seed, ())
    velocity = tuple(0.9 * v + g for v, g in zip(carry, found.gradient))
    return objective_lib.Gradient(velocity, found.columns, velocity)


def _train(objective, momentum=None, rate=harness.RATE):
  model, data = harness.model(), harness.cohorts(epochs=2)[0][2]
  weights = tuple(map(tf.constant, model.initial_weights[0]))
  optimizer = tff.learning.optimizers.build_sgdm(rate, momentum)
  run = tf.function(
    lambda: local_training.train_locally(
      model,
      optimizer,
      weights,
      data,
      learning_rate_factor=tf.constant(0.5),
      objective=objective(objective_lib.Loss(model)),
    ),
    autograph=False,
  )
  return run()


def test_a_carried_average_is_the_optimisers_momentum():
  ours, theirs = _train(_HeavyBall), _train(lambda loss: None, momentum=0.9)
  plain = _train(lambda loss: None)
  harness.assert_same([ours.weights], [theirs.weights], 1e-6)
  assert abs(ours.weights[0] - plain.weights[0]).numpy().max() > 1e-2
  assert len(ours.carry) == len(ours.weights) and not plain.carry
  harness.assert_same([list(ours.sums.values())], [list(theirs.sums.values())], 1e-5)


def test_terms_add_up_also_around_a_carry():
  pull = lambda weights: tuple(0.3 * w for w in weights)
  twice = _train(lambda loss: _HeavyBall(loss).plus(pull).plus(pull))
  once = _train(lambda loss: _HeavyBall(loss).plus(lambda w: tuple(2.0 * t for t in pull(w))))
  harness.assert_same([twice.weights], [once.weights], 1e-6)


def test_a_constant_term_is_a_term_that_is_the_same_at_all_weights():
  constant = tuple(tf.fill(w.shape, 0.3) for w in harness.model().initial_weights[0])
  for momentum in (None, 0.9):
    ours = _train(lambda loss: loss.plus_constant(constant).times(0.5), momentum)
    theirs = _train(lambda loss: loss.plus(lambda _: constant).times(0.5), momentum)
    harness.assert_same([ours.weights], [theirs.weights], 1e-6)
    without = _train(lambda loss: loss.times(0.5), momentum)
    assert abs(ours.weights[0] - without.weights[0]).numpy().max() > 1e-2


class _Unscaled(objective_lib.Objective):
  """The loss, multiplied by the rate after the gradient and not before."""

  def __init__(self, loss):
    self._loss = loss

  def gradient(self, weights, batch, seed, carry):
    return self._loss.gradient(weights, batch, seed, carry)


def test_an_objective_times_a_number_is_a_rate_times_it():
  half = _train(lambda loss: _Unscaled(loss).times(0.5))
  loss = _train(lambda loss: loss.times(0.5))
  expected = _train(lambda loss: None, rate=harness.RATE / 2)
  harness.assert_same([half.weights, loss.weights], [expected.weights] * 2, 1e-6)
  carried = _train(lambda loss: _HeavyBall(loss).times(0.5))
  momentum = _train(lambda loss: loss.times(0.5), momentum=0.9)
  expected = _train(lambda loss: None, momentum=0.9, rate=harness.RATE / 2)
  harness.assert_same([carried.weights, momentum.weights], [expected.weights] * 2, 1e-6)


def test_a_scaled_loss_is_the_scaled_gradient_of_the_loss():
  harness.assert_same([_train(_Unscaled).weights], [_train(lambda loss: None).weights], 1e-6)

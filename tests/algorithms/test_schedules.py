"""Learning-rate schedules, and that a process follows them on both sides."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import optimizers
from fl_research.algorithms.optimization import fed_avg
from fl_research.optimizers import gradient_transforms, schedules
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_avg as oracle


@pytest.mark.parametrize(
  ('name', 'expected'),
  [
    ('constant', [1.0, 1.0, 1.0, 1.0, 1.0]),
    ('exponential', [1.0, 0.5**0.5, 0.5, 0.5**1.5, 0.25]),
    ('linear_warmup', [0.5, 1.0, 1.0, 1.0, 1.0]),
    ('cosine', [1.0, 0.5, 0.0, 0.0, 0.0]),
  ],
)
def test_factors(name, expected):
  factor = schedules.build(name, decay=0.5, decay_rounds=2)
  values = [float(factor(tf.constant(t))) for t in range(5)]
  np.testing.assert_allclose(values, expected, atol=1e-6)
  assert name in schedules.SCHEDULES


def test_both_sides_follow_their_schedules():
  rounds = harness.cohorts()
  with contexts.fused(1):
    process = harness.build(
      fed_avg.build(),
      client_schedule=schedules.build('exponential', 0.5, 1),
      server_schedule=schedules.build('linear_warmup', 1.0, 2),
    )
    ours = harness.run(process, rounds)
  weights, expected = harness.model().initial_weights[0], []
  for t, cohort in enumerate(rounds):
    rate, server_rate = harness.RATE * 0.5**t, min(1.0, (t + 1) / 2)
    weights = oracle.fed_avg(weights, [cohort], rate, server_rate)[0]
    expected.append(weights)
  harness.assert_same(ours, expected)


def test_clipping_and_decay_come_before_the_step():
  base = tff.learning.optimizers.build_sgdm(0.1)
  optimizer = gradient_transforms.TransformedOptimizer(base, clip_norm=1.0, weight_decay=0.5)
  weights = (tf.constant([2.0]), tf.constant([4.0]))
  gradient = (tf.constant([3.0]), tf.constant([4.0]))
  _, after = optimizer.next(optimizer.initialize(weights), weights, gradient)
  np.testing.assert_allclose(after[0], [2.0 - 0.1 * (3 / 5 + 0.5 * 2)], rtol=1e-6)
  np.testing.assert_allclose(after[1], [4.0 - 0.1 * (4 / 5 + 0.5 * 4)], rtol=1e-6)


@pytest.mark.parametrize('name', sorted(optimizers.OPTIMIZERS))
def test_every_optimizer_descends_and_takes_its_hyperparameters(name):
  read = optimizers.OPTIMIZERS[name].hyperparameters
  given = {key: hyperparameter.default for key, hyperparameter in read.items()}
  optimizer = optimizers.build(name, 0.1, given)
  weights = (tf.constant([1.0, -2.0]),)
  state = optimizer.initialize((tf.TensorSpec([2]),))
  for _ in range(50):
    state, weights = optimizer.next(state, weights, (2 * weights[0],))
  assert float(tf.reduce_sum(weights[0] ** 2)) < 5.0 * 0.6
  assert math.isfinite(float(weights[0][0]))

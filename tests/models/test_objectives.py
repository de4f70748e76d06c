"""Loss and metrics against the same in NumPy."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import math

import numpy as np
import pytest
import tensorflow as tf

from fl_research import metrics
from fl_research.datasets.federated_data import Problem
from fl_research.models import objectives

RNG = np.random.default_rng(0)


def columns_of(problem, output, label):
  columns = objectives.example_columns(problem, tf.constant(output), tf.constant(label))
  assert list(columns)[:2] == ['num', 'loss']
  assert all(c.dtype == tf.float32 and c.shape == (len(label),) for c in columns.values())
  return {name: column.numpy() for name, column in columns.items()}


def log_softmax(z):
  return z - np.log(np.sum(np.exp(z), -1, keepdims=True))


def floats(*shape):
  return RNG.standard_normal(shape).astype(np.float32)


def test_classification():
  z, y = floats(6, 4), np.array([0, 1, 2, 3, 1, 1], np.int32)
  columns = columns_of(Problem.CLASSIFICATION, z, y)
  np.testing.assert_allclose(columns['loss'], -log_softmax(z)[np.arange(6), y], rtol=1e-5)
  np.testing.assert_array_equal(columns['accuracy'], z.argmax(1) == y)
  np.testing.assert_array_equal(columns['num'], np.ones(6))
  assert 'top5' not in columns


def test_top5_from_50_classes():
  z, y = floats(40, 50), RNG.integers(0, 50, 40).astype(np.int32)
  y[:10] = np.argsort(-z[:10])[:, 4]
  y[10:20] = np.argsort(-z[10:20])[:, 5]
  top5 = columns_of(Problem.CLASSIFICATION, z, y)['top5']
  assert top5[:10].all() and not top5[10:20].any()
  np.testing.assert_array_equal(top5, [y in np.argsort(-z)[:5] for z, y in zip(z, y)])


def test_binary():
  z, y = floats(8, 1), np.array([0, 1] * 4, np.int32)
  p = 1 / (1 + np.exp(-z[:, 0]))
  columns = columns_of(Problem.BINARY, z, y)
  np.testing.assert_allclose(columns['loss'], -np.log(np.where(y, p, 1 - p)), rtol=1e-5)
  np.testing.assert_array_equal(columns['accuracy'], (p > 0.5) == y)
  np.testing.assert_allclose(columns['score'], p, rtol=1e-5)


def test_multilabel():
  z, y = floats(5, 9), RNG.integers(0, 2, (5, 9)).astype(np.float32)
  p = 1 / (1 + np.exp(-z))
  columns = columns_of(Problem.MULTILABEL, z, y)
  losses = -np.log(np.where(y, p, 1 - p))
  np.testing.assert_allclose(columns['loss'], losses.mean(1), rtol=1e-5)
  hits = [y[i, np.argsort(-z[i])[:5]].sum() for i in range(5)]
  np.testing.assert_array_equal(columns['recall_at_5'], hits)
  np.testing.assert_array_equal(columns['positives'], y.sum(1))
  np.testing.assert_allclose(columns['accuracy'], ((z > 0) == y).mean(1), rtol=1e-6)


def test_few_tags_have_no_recall_among_five():
  columns = columns_of(Problem.MULTILABEL, floats(4, 5), np.ones((4, 5), np.float32))
  assert list(columns) == ['num', 'loss', 'accuracy']


def test_multilabel_recall_is_that_of_keras():
  z, y = floats(30, 9), RNG.integers(0, 2, (30, 9)).astype(np.float32)
  columns = columns_of(Problem.MULTILABEL, z, y)
  recall = tf.keras.metrics.Recall(top_k=5)
  recall.update_state(y, tf.sigmoid(z))
  summary = metrics.summarise(Problem.MULTILABEL, columns)
  np.testing.assert_allclose(summary['recall_at_5'], recall.result(), rtol=1e-6)


def test_next_token_leaves_padding_out():
  z = floats(3, 4, 6)
  y = np.array([[1, 2, 3, 4], [5, 1, 0, 0], [0, 0, 0, 0]], np.int32)
  columns = columns_of(Problem.NEXT_TOKEN, z, y)
  losses = -np.take_along_axis(log_softmax(z), y[..., None], 2)[..., 0]
  np.testing.assert_array_equal(columns['num'], [4, 2, 0])
  np.testing.assert_allclose(columns['loss'], (losses * (y > 0)).sum(1), rtol=1e-5)
  correct = (z.argmax(2) == y) & (y > 0)
  np.testing.assert_array_equal(columns['accuracy'], correct.sum(1))


def test_regression():
  z, y = floats(5, 1), floats(5)
  columns = columns_of(Problem.REGRESSION, z, y)
  np.testing.assert_allclose(columns['loss'], (z[:, 0] - y) ** 2, rtol=1e-6)
  np.testing.assert_allclose(columns['mae'], np.abs(z[:, 0] - y), rtol=1e-6)
  assert list(columns) == ['num', 'loss', 'mae']


def test_regression_of_several_numbers():
  z, y = floats(5, 3), floats(5, 3)
  columns = columns_of(Problem.REGRESSION, z, y)
  np.testing.assert_allclose(columns['loss'], ((z - y) ** 2).mean(1), rtol=1e-6)
  np.testing.assert_allclose(columns['mae'], np.abs(z - y).mean(1), rtol=1e-6)
  np.testing.assert_allclose(columns['error_2'], z[:, 2] - y[:, 2], rtol=1e-6)


@pytest.mark.parametrize('shape', [(), (2,)])
def test_numbers_are_learnt_in_units_of_their_deviation(shape):
  deviation = np.array([300, 600][: math.prod(shape)], np.float32).reshape(shape)
  y = 3000 + deviation * floats(6, *shape)
  z = y.reshape(6, -1) + 90 * floats(6, math.prod(shape))
  columns = objectives.example_columns(
    Problem.REGRESSION, tf.constant(z), tf.constant(y), deviation
  )
  errors = (z - y.reshape(6, -1)) / deviation.reshape(-1)
  np.testing.assert_allclose(columns['objective'], (errors**2).mean(1), rtol=1e-5)
  np.testing.assert_allclose(columns['loss'], ((z - y.reshape(6, -1)) ** 2).mean(1), rtol=1e-5)
  np.testing.assert_allclose(objectives.mean_loss(columns), (errors**2).mean(), rtol=1e-5)


def test_weighted_classes():
  z, y = floats(6, 3), np.array([0, 1, 2, 2, 1, 2], np.int32)
  weights = np.array([2.0, 1.0, 0.5], np.float32)
  columns = objectives.example_columns(
    Problem.CLASSIFICATION, tf.constant(z), tf.constant(y), class_weights=weights
  )
  expected = -weights[y] * log_softmax(z)[np.arange(6), y]
  np.testing.assert_allclose(columns['objective'], expected, rtol=1e-5)
  np.testing.assert_allclose(columns['loss'], expected / weights[y], rtol=1e-5)
  # As Keras has it: the mean divides by the examples and not by their weights.
  np.testing.assert_allclose(objectives.mean_loss(columns), expected.mean(), rtol=1e-5)


def test_weighted_binary():
  z, y = floats(6, 1), np.array([0, 1, 0, 0, 1, 0], np.int32)
  weights = np.array([0.75, 1.5], np.float32)
  columns = objectives.example_columns(
    Problem.BINARY, tf.constant(z), tf.constant(y), class_weights=weights
  )
  np.testing.assert_allclose(columns['objective'], weights[y] * columns['loss'], rtol=1e-6)


def test_weighted_tags():
  z, y = floats(4, 3), RNG.integers(0, 2, (4, 3)).astype(np.float32)
  weights = np.array([[0.5, 5.0], [1.0, 1.0], [2.0, 0.6]], np.float32)
  columns = objectives.example_columns(
    Problem.MULTILABEL, tf.constant(z), tf.constant(y), class_weights=weights
  )
  p = 1 / (1 + np.exp(-z))
  losses = -np.log(np.where(y, p, 1 - p)) * np.where(y, weights[:, 1], weights[:, 0])
  np.testing.assert_allclose(columns['objective'], losses.mean(1), rtol=1e-5)


def test_reconstruction():
  z, y = floats(5, 2, 3), floats(5, 2, 3)
  columns = columns_of(Problem.RECONSTRUCTION, z, y)
  np.testing.assert_allclose(columns['loss'], ((z - y) ** 2).mean((1, 2)), rtol=1e-6)


def test_mean_loss_counts_tokens_and_weights():
  columns = {'num': tf.constant([4.0, 2.0, 1.0]), 'loss': tf.constant([8.0, 1.0, 5.0])}
  assert float(objectives.mean_loss(columns)) == 14 / 7
  weighted = objectives.mean_loss(columns, tf.constant([1.0, 0.5, 0.0]))
  assert float(weighted) == pytest.approx(8.5 / 5)


def test_mean_loss_of_nothing_is_zero():
  columns = {'num': tf.constant([1.0, 0.0]), 'loss': tf.constant([3.0, 0.0])}
  assert objectives.mean_loss(columns, tf.constant([0.0, 1.0])) == 0
  empty = tf.zeros([0])
  assert objectives.mean_loss({'num': empty, 'loss': empty}) == 0


@pytest.mark.parametrize('problem', Problem)
def test_sum_names_are_the_columns_that_are_given(problem):
  shape, label = {
    Problem.CLASSIFICATION: ((2, 60), np.zeros(2, np.int32)),
    Problem.BINARY: ((2, 1), np.zeros(2, np.int32)),
    Problem.MULTILABEL: ((2, 7), np.zeros((2, 7), np.float32)),
    Problem.NEXT_TOKEN: ((2, 3, 5), np.zeros((2, 3), np.int32)),
    Problem.REGRESSION: ((2, 1), np.zeros(2, np.float32)),
    Problem.RECONSTRUCTION: ((2, 3), np.zeros((2, 3), np.float32)),
  }[problem]
  columns = columns_of(problem, floats(*shape), label)
  assert set(metrics.sum_names(problem, 60)) == set(columns) - {'score'}

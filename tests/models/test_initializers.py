"""First weights: their distributions, and the choice of another one."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import ast
import importlib.util

import numpy as np
import pytest
import tensorflow as tf

from fl_research import models
from fl_research.datasets.federated_data import Problem
from fl_research.models import initializers
from fl_research.models.specification import ModelSpec
from fl_research.registry import UsageError


def test_glorot_uniform_fills_its_range():
  draws = initializers.glorot_uniform(np.random.default_rng(0), (200, 100), 200, 100)
  limit = np.sqrt(6 / 300)
  assert np.abs(draws).max() <= limit
  np.testing.assert_allclose(draws.std(), limit / np.sqrt(3), rtol=0.02)


def test_he_normal_has_its_variance_within_two_deviations():
  draws = initializers.he_normal(np.random.default_rng(0), (300, 200), 300)
  np.testing.assert_allclose(draws.std(), np.sqrt(2 / 300), rtol=0.02)
  assert np.abs(draws).max() <= 2 * np.sqrt(2 / 300) / 0.8796 + 1e-6


@pytest.mark.parametrize('shape', [(4, 9), (9, 4)])
def test_orthogonal(shape):
  q = initializers.orthogonal(np.random.default_rng(0), shape)
  product = q @ q.T if shape[0] < shape[1] else q.T @ q
  np.testing.assert_allclose(product, np.eye(4), atol=1e-6)


def _spec(shape, dtype=np.float32, problem=Problem.CLASSIFICATION, label_shape=(), **others):
  return ModelSpec(shape, np.dtype(dtype), label_shape, np.dtype(np.int32), problem, 7, **others)


def _weights(name, spec, initializer='', seed=3):
  model = models.build(name, spec, seed, initializer)
  return dict(zip(model.weight_names, model.initial_weights[0]))


KERAS = {
  'glorot_uniform': tf.keras.initializers.GlorotUniform,
  'glorot_normal': tf.keras.initializers.GlorotNormal,
  'he_uniform': tf.keras.initializers.HeUniform,
  'he_normal': tf.keras.initializers.HeNormal,
  'lecun_uniform': tf.keras.initializers.LecunUniform,
  'lecun_normal': tf.keras.initializers.LecunNormal,
}


@pytest.mark.parametrize('name', KERAS)
@pytest.mark.parametrize('shape', [(300, 200), (5, 5, 40, 60)])
def test_distributions_are_those_of_keras(name, shape):
  keras = KERAS[name](0)(shape).numpy()
  key = 'dense_1/kernel'
  generator = np.random.default_rng(0)
  (ours,) = initializers.redraw(name, [key], [np.zeros(shape, np.float32)], generator)
  assert ours.dtype == np.float32 and ours.shape == shape
  np.testing.assert_allclose(ours.std(), keras.std(), rtol=0.02)
  np.testing.assert_allclose(np.abs(ours).max(), np.abs(keras).max(), rtol=0.01)


def test_pytorchs_default_for_kernels_and_biases():
  weights = _weights('cnn', _spec((28, 28, 1)), 'fan_in_uniform')
  for layer, fan_in in (('conv2d_1', 25), ('conv2d_2', 800), ('dense_1', 3136), ('dense_2', 512)):
    limit = 1 / np.sqrt(fan_in)
    kernel, bias = weights[f'{layer}/kernel'], weights[f'{layer}/bias']
    assert 0.98 * limit < np.abs(kernel).max() <= limit
    assert 0.5 * limit < np.abs(bias).max() <= limit


def test_pytorchs_default_for_an_lstm():
  spec = _spec((5,), np.int32, Problem.NEXT_TOKEN, (5,), hyperparameters={'units': 16, 'layers': 1})
  own, weights = _weights('char_lstm', spec), _weights('char_lstm', spec, 'fan_in_uniform')
  for what in ('kernel', 'recurrent_kernel', 'bias'):
    assert 0.2 < np.abs(weights[f'lstm_1/{what}']).max() <= 0.25
  np.testing.assert_array_equal(weights['embedding_1/embeddings'], own['embedding_1/embeddings'])


def test_keras_names_leave_what_is_no_kernel():
  spec = _spec((5,), np.int32, Problem.NEXT_TOKEN, (5,), hyperparameters={'units': 16, 'layers': 1})
  own, weights = _weights('char_lstm', spec), _weights('char_lstm', spec, 'he_uniform')
  differing = {key for key in own if not np.array_equal(own[key], weights[key])}
  assert differing == {'lstm_1/kernel', 'dense_1/kernel'}


def test_draws_are_a_function_of_the_seed():
  first, same = (_weights('mlp', _spec((4,)), 'he_normal') for _ in range(2))
  other = _weights('mlp', _spec((4,)), 'he_normal', seed=4)
  for key in first:
    np.testing.assert_array_equal(first[key], same[key])
  assert not np.array_equal(first['dense_1/kernel'], other['dense_1/kernel'])


def test_a_model_without_kernels():
  spec = ModelSpec(
    (2,), np.dtype(np.int32), (), np.dtype(np.float32), Problem.REGRESSION, 1, (3, 4)
  )
  with pytest.raises(UsageError, match='--initializer=zeros: this model has no kernels'):
    models.build('matrix_factorization', spec, 0, 'zeros')


@pytest.mark.parametrize('name', models.MODELS)
def test_every_model_tells_how_it_starts(name):
  place = importlib.util.find_spec(models.MODELS[name].module).origin
  with open(place) as file:
    assert 'First weights: ' in ast.get_docstring(ast.parse(file.read()))

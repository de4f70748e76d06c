"""Every model: its size, its Keras twin, its names and its seeds."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import numpy as np
import pytest
import tensorflow as tf

from fl_research import models
from fl_research import registry
from fl_research.datasets.federated_data import InputColumn, Problem
from fl_research.models import ModelSpec
from tests import forked

FLOAT, INT = np.dtype(np.float32), np.dtype(np.int32)


def classes(count, *shape):
  return ModelSpec(shape, FLOAT, (), INT, Problem.CLASSIFICATION, count)


def text(vocabulary, length):
  return ModelSpec((length,), INT, (length,), INT, Problem.NEXT_TOKEN, vocabulary)


def pictures(*shape):
  return ModelSpec(shape, FLOAT, shape, FLOAT, Problem.RECONSTRUCTION, 1)


def ratings(users, items):
  return ModelSpec((2,), INT, (), FLOAT, Problem.REGRESSION, 1, (users, items))


def with_settings(spec, **hyperparameters):
  return ModelSpec(**{**vars(spec), 'hyperparameters': hyperparameters})


# From the papers where they say; else from the code that their authors published, or by hand.
COLUMNS = (
  InputColumn('user id', 0, 1, vocabulary=5),
  InputColumn('age', 1, 2),
  InputColumn('film', 2, 3, vocabulary=7),
  InputColumn('genre', 3, 5),
)


def table(problem, count):
  """x is [user id, age, film, genre, genre], two of them ids."""
  dtype = FLOAT if problem is Problem.REGRESSION else INT
  return ModelSpec((5,), FLOAT, (), dtype, problem, count, inputs=COLUMNS)


PARAMETERS = [
  ('softmax', classes(10, 28, 28, 1), 7_850),
  ('2nn', classes(10, 28, 28, 1), 199_210),
  ('cnn', classes(10, 28, 28, 1), 1_663_370),
  ('cnn', classes(62, 28, 28), 1_690_046),
  ('emnist_cnn', classes(62, 28, 28, 1), 1_206_590),
  ('emnist_cnn', classes(10, 28, 28, 1), 1_199_882),
  ('autoencoder', pictures(784), 2_837_314),
  ('resnet18_gn', classes(100, 32, 32, 3), 11_227_812),
  ('char_lstm', text(90, 80), 820_522),
  ('word_lstm', text(10_004, 20), 4_050_748),
  ('cnn1d', classes(6, 128, 9), 284_166),
  ('logmel_cnn', classes(10, 41, 40, 1), 302_922),
  ('mlp', classes(2, 13), 13 * 64 + 64 + 64 * 64 + 64 + 64 * 2 + 2),
  ('matrix_factorization', ratings(610, 9_724), (610 + 9_724) * 51 + 1),
  ('factorization', table(Problem.REGRESSION, 1), (5 + 7 + 3) * 5 + 1),
]

# Small cases of every model, for what has to run. The batch of the second dimension, if odd sizes
# matter, is odd.
SMALL = {
  'softmax': ('softmax', classes(3, 4, 5)),
  'logistic': ('softmax', ModelSpec((6,), FLOAT, (), INT, Problem.BINARY, 2)),
  'tags': ('softmax', ModelSpec((6,), FLOAT, (7,), FLOAT, Problem.MULTILABEL, 7)),
  '2nn': ('2nn', classes(3, 5, 4, 1)),
  'cnn': ('cnn', classes(3, 7, 9, 2)),
  'cnn_grey': ('cnn', classes(3, 8, 8)),
  'cnn_group': ('cnn', with_settings(classes(3, 8, 8), normalization='group')),
  'emnist_cnn': ('emnist_cnn', classes(3, 9, 8, 1)),
  'emnist_cnn_dropout': ('emnist_cnn', with_settings(classes(3, 9, 8, 1), dropout=True)),
  'mlp': ('mlp', with_settings(classes(3, 6), hidden_units=5, hidden_layers=3)),
  'mlp_layer': ('mlp', with_settings(classes(3, 6), hidden_units=5, normalization='layer')),
  'autoencoder': ('autoencoder', pictures(4, 3, 1)),
  'resnet18_gn': ('resnet18_gn', classes(3, 17, 16, 3)),
  'resnet18_gn_downsample': ('resnet18_gn', with_settings(classes(3, 32, 32), downsample=True)),
  'char_lstm': ('char_lstm', with_settings(text(11, 7), units=6)),
  'word_lstm': ('word_lstm', with_settings(text(11, 5), units=6, embedding=4)),
  'cnn1d': ('cnn1d', classes(3, 15, 2)),
  'logmel_cnn': ('logmel_cnn', classes(3, 9, 11, 1)),
  'ids_softmax': ('softmax', table(Problem.CLASSIFICATION, 3)),
  'ids_mlp': ('mlp', with_settings(table(Problem.REGRESSION, 1), embedding=2)),
  'factorization': ('factorization', with_settings(table(Problem.REGRESSION, 1), dimension=3)),
  'factorization_classes': (
    'factorization',
    with_settings(table(Problem.CLASSIFICATION, 3), dimension=2),
  ),
  'matrix_factorization': ('matrix_factorization', with_settings(ratings(5, 8), dimension=3)),
}


def small_model(case, seed=1):
  name, spec = SMALL[case]
  return models.build(name, spec, seed)


def batch(spec, size, seed=0):
  """Examples x and labels y that fit a specification."""
  rng = np.random.default_rng(seed)
  if spec.vocabulary_size is not None:
    x = np.stack([rng.integers(0, most, size) for most in spec.vocabulary_size], 1)
  elif spec.x_dtype == INT:
    x = rng.integers(0, spec.num_classes, (size, *spec.input_shape))
  else:
    x = rng.random((size, *spec.input_shape))
    for column in spec.inputs or ():
      if column.vocabulary:
        x[:, column.start] = rng.integers(0, column.vocabulary, size)
  if spec.problem is Problem.MULTILABEL:
    y = rng.integers(0, 2, (size, *spec.label_shape))
  elif spec.label_dtype == INT:
    y = rng.integers(0, spec.num_classes, (size, *spec.label_shape))
  else:
    y = rng.random((size, *spec.label_shape))
  return x.astype(spec.x_dtype), y.astype(spec.label_dtype)


def moved_weights(model, seed=2):
  """Weights near the first ones in which nothing is exactly zero or one."""
  rng = np.random.default_rng(seed)
  return tuple(
    (w + 0.05 * rng.standard_normal(w.shape)).astype(np.float32) for w in model.initial_weights[0]
  )


@pytest.mark.parametrize('name, spec, count', PARAMETERS)
def test_parameter_count(name, spec, count):
  assert models.build(name, spec, 0).num_parameters == count


def test_every_model_is_counted_and_run():
  assert {name for name, _, _ in PARAMETERS} == set(models.NAMES)
  assert {name for name, _ in SMALL.values()} == set(models.NAMES)


# So many weights that TensorFlow, which keeps what it once took, had better have them elsewhere.
_LARGE = ('resnet18_gn', 'resnet18_gn_downsample')


def _check(check, case, *arguments):
  if case in _LARGE:
    forked.check(check, case, *arguments)
  else:
    check(case, *arguments)


@pytest.mark.parametrize('case', SMALL)
def test_saved_keras_twin_gives_the_same_output(case, tmp_path):
  _check(_check_saved_twin, case, tmp_path)


def _check_saved_twin(case, folder):
  model = small_model(case)
  weights = moved_weights(model)
  x, _ = batch(model.spec, 5)
  output = model.predict_on_batch((weights, ()), x, training=False).numpy()
  assert np.ptp(output) > 0.01
  model.keras_model((weights, ())).save(folder / 'model.keras')
  opened = tf.keras.models.load_model(folder / 'model.keras')
  np.testing.assert_allclose(opened(x).numpy(), output, rtol=1e-5, atol=1e-5)


# A factorisation machine's twin has the squares of its numbers' vectors as weights of their own.
_TWINS = [case for case in SMALL if 'dropout' not in case and not case.startswith('factorization')]


@pytest.mark.parametrize('case', _TWINS)
def test_gradient_is_that_of_the_keras_twin(case):
  _check(_check_gradient, case)


def _check_gradient(case):
  model = small_model(case)
  weights = [tf.constant(w) for w in moved_weights(model)]
  x, y = batch(model.spec, 4)
  with tf.GradientTape() as tape:
    tape.watch(weights)
    loss = model.loss(model.predict_on_batch((weights, ()), x), y)
  ours = dict(zip(model.weight_names, tape.gradient(loss, weights)))
  twin = model.keras_model((weights, ()))
  with tf.GradientTape() as tape:
    twin_loss = model.loss(twin(x, training=True), y)
  variables = {}
  for variable in twin.trainable_variables:
    first, *_, last = variable.name.removesuffix(':0').split('/')
    variables[f'{first}/{last}'] = variable
  theirs = tape.gradient(twin_loss, variables)
  np.testing.assert_allclose(loss, twin_loss, rtol=1e-5)
  for name, gradient in ours.items():
    layer, _, weight = name.rpartition('/')
    expected = tf.convert_to_tensor(theirs[f'{layer.replace("/", "_")}/{weight}'])
    scale = np.abs(expected).max()
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4 * scale, err_msg=name)


@pytest.mark.parametrize('case', SMALL)
def test_names_are_unique_and_grouped_by_layer(case):
  model = small_model(case)
  names = model.weight_names
  assert len(set(names)) == len(names) == len(model.initial_weights[0])
  layers = [name.rpartition('/')[0] for name in names]
  changes = [layer for layer, before in zip(layers, [None, *layers]) if layer != before]
  assert len(changes) == len(set(layers))


def test_names_of_the_2nn():
  assert small_model('2nn').weight_names == (
    'dense_1/kernel',
    'dense_1/bias',
    'dense_2/kernel',
    'dense_2/bias',
    'dense_3/kernel',
    'dense_3/bias',
  )


@pytest.mark.parametrize('case', ['2nn', 'char_lstm', 'resnet18_gn', 'matrix_factorization'])
def test_seed_fixes_the_first_weights(case):
  first, same, other = (small_model(case, seed).initial_weights[0] for seed in (3, 3, 4))
  assert all(w.dtype == np.float32 for w in first)
  assert all(np.array_equal(a, b) for a, b in zip(first, same))
  random = [w.ndim > 1 for w in first]
  assert [not np.array_equal(a, b) for a, b in zip(first, other)] == random


def test_one_output_shape_per_problem():
  for case, shape in {
    'softmax': (2, 3),
    'logistic': (2, 1),
    'tags': (2, 7),
    'char_lstm': (2, 7, 11),
    'autoencoder': (2, 4, 3, 1),
    'matrix_factorization': (2, 1),
  }.items():
    model = small_model(case)
    x, _ = batch(model.spec, 2)
    assert model.predict_on_batch(model.initial_weights, x).shape == shape, case


def test_unknown_model_names_the_nearest():
  with pytest.raises(registry.UsageError, match=r'^--model=cn: unknown \(did you mean cnn\?\)'):
    models.build('cn', classes(3, 8, 8, 1), 0)


def test_unknown_hyperparameter():
  with pytest.raises(registry.UsageError, match=r'hidden_unit: unknown .*hidden_units'):
    models.build('mlp', with_settings(classes(3, 4), hidden_unit=3), 0)


def test_hyperparameter_outside_its_domain():
  with pytest.raises(registry.UsageError, match=r'--mlp_hidden_units=0: .*at least 1'):
    models.build('mlp', with_settings(classes(3, 4), hidden_units=0), 0)


@pytest.mark.parametrize(
  'name, spec',
  [
    ('cnn', classes(3, 16)),
    ('cnn', classes(3, 3, 8, 1)),
    ('cnn', text(11, 5)),
    ('emnist_cnn', classes(3, 5, 8, 1)),
    ('resnet18_gn', classes(3, 4, 4, 3)),
    ('char_lstm', classes(3, 8, 8, 1)),
    ('word_lstm', ratings(3, 4)),
    ('cnn1d', classes(3, 8, 8, 1)),
    ('logmel_cnn', classes(3, 8)),
    ('softmax', text(11, 5)),
    ('2nn', ratings(3, 4)),
    ('mlp', pictures(4)),
    ('autoencoder', classes(3, 4)),
    ('matrix_factorization', classes(3, 2)),
  ],
)
def test_model_that_does_not_fit_says_what_it_accepts(name, spec):
  with pytest.raises(registry.UsageError) as caught:
    models.build(name, spec, 0)
  message = str(caught.value)
  assert message.startswith(f'--model={name}: does not fit this data (')
  assert 'it accepts' in message and '\n' not in message

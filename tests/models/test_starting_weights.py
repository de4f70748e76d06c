"""--initial_model and --freeze: where training starts, and what stays."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import numpy as np
import pytest
import tensorflow as tf

from fl_research.models import own
from fl_research import models
from fl_research.models import frozen, layers, stored_weights
from fl_research.models import model as model_lib
from fl_research.registry import UsageError
from tests.algorithms import harness
from fl_research.algorithms.optimization import fed_avg
from tests.models import test_architectures

SPEC = test_architectures.classes(3, 6)
NAMES = [f'dense_{i}/{w}' for i in (1, 2, 3) for w in ('kernel', 'bias')]


def mlp(**settings):
  return models.build('mlp', SPEC, 0, **settings)


def assert_starts_as(model, weights):
  for a, b in zip(model.initial_weights[0], weights, strict=True):
    np.testing.assert_array_equal(a, b)


def test_starts_from_the_npz_of_a_run(tmp_path):
  weights = test_architectures.moved_weights(mlp())
  # Names decide, and not the order.
  np.savez(tmp_path / 'model.npz', **dict(reversed(mlp().named_weights(weights).items())))
  assert_starts_as(mlp(initial_model=str(tmp_path / 'model.npz')), weights)


@pytest.mark.parametrize('case', ['mlp', 'matrix_factorization', 'char_lstm'])
def test_starts_from_the_keras_file_of_a_run(case, tmp_path):
  model = test_architectures.small_model(case)
  weights = test_architectures.moved_weights(model)
  path = str(tmp_path / 'model.keras')
  model.keras_model((weights, ())).save(path)
  name, spec = test_architectures.SMALL[case]
  assert_starts_as(models.build(name, spec, 5, initial_model=path), weights)


def test_parts_of_a_block_are_known_by_their_names(tmp_path):
  # Keras has the shortcut's weights before the branch's.
  branch, shortcut = (layers.sequential(layers.Dense(6)) for _ in range(2))
  network = layers.sequential(layers.Residual(branch, shortcut), layers.Dense(3))
  model = model_lib.Model(network, SPEC, 0)
  weights = test_architectures.moved_weights(model)
  path = str(tmp_path / 'model.keras')
  model.keras_model((weights, ())).save(path)
  read = stored_weights.read(path, model.weight_names, weights)
  for a, b in zip(read, weights, strict=True):
    np.testing.assert_array_equal(a, b)


def test_starts_from_a_keras_file_with_other_names(tmp_path):
  dense = [tf.keras.layers.Dense(n, name=name) for n, name in ((64, 'a'), (64, 'b'), (3, 'c'))]
  theirs = tf.keras.Sequential([tf.keras.Input(6), *dense])
  theirs.save(tmp_path / 'theirs.h5')
  assert_starts_as(mlp(initial_model=str(tmp_path / 'theirs.h5')), theirs.get_weights())


BAD = {
  'missing weight': ({'dense_1/kernel': np.ones((6, 64))}, 'has no weight dense_1/bias'),
  'other shape': (
    {name: np.ones(3) for name in NAMES},
    r'dense_1/kernel is \[3\] there, and \[6, 64\]',
  ),
  'nan': (
    {n: np.full(w.shape, np.nan) for n, w in zip(NAMES, mlp().initial_weights[0])},
    'dense_1/kernel is not all finite',
  ),
}


@pytest.mark.parametrize('what', BAD)
def test_refuses_weights_of_another_model(what, tmp_path):
  arrays, message = BAD[what]
  np.savez(tmp_path / 'x.npz', **arrays)
  with pytest.raises(UsageError, match=f'^--initial_model=.*x.npz: {message}'):
    mlp(initial_model=str(tmp_path / 'x.npz'))


@pytest.mark.parametrize('name', ['x.npz', 'x.keras'])
def test_refuses_what_is_no_model(name, tmp_path):
  (tmp_path / name).write_text('no')
  with pytest.raises(UsageError, match=f'^--initial_model=.*{name}: .*cannot'):
    mlp(initial_model=str(tmp_path / name))


def test_frozen_layers_are_no_weights():
  whole, model = mlp(), mlp(freeze='dense_1,dense_3')
  assert model.weight_names == ('dense_2/kernel', 'dense_2/bias')
  x, _ = test_architectures.batch(SPEC, 5)
  first = [each.predict_on_batch(each.initial_weights, x) for each in (whole, model)]
  np.testing.assert_array_equal(*first)
  weights = tuple(w + 1 for w in model.initial_weights[0])
  named = model.named_weights(weights)
  assert set(named) == set(whole.weight_names)
  everything = tuple(named[name] for name in whole.weight_names)
  output = model.predict_on_batch((weights, ()), x)
  np.testing.assert_array_equal(output, whole.predict_on_batch((everything, ()), x))
  np.testing.assert_allclose(model.keras_model((weights, ()))(x), output, rtol=1e-5)


def test_frozen_layers_are_not_sent():
  spec = harness.model().spec
  whole, part = (models.build('mlp', spec, 1, freeze=f) for f in ('', 'dense_1'))
  down = [harness.build(fed_avg.build(), model=m).bytes_down_per_client for m in (whole, part)]
  assert down[0] - down[1] == 4 * (whole.num_parameters - part.num_parameters) > 0


def test_layers_are_frozen_by_pattern_or_block():
  names = ('a_1/kernel', 'a_2/kernel', 'b/branch/conv/kernel', 'b/shortcut/kernel')
  assert frozen.named('a_*', names) == (True, True, False, False)
  assert frozen.named('b/branch,a_2', names) == (False, True, True, False)
  assert frozen.named('b', names) == (False, False, True, True)
  with pytest.raises(UsageError, match='--freeze=c: the model has no layer "c"; accepted are a_1,'):
    frozen.named('c', names)


def test_something_must_be_left_to_train():
  with pytest.raises(UsageError, match=r'--freeze=\*: leaves no weights to train'):
    mlp(freeze='*')


def test_a_runs_folder_is_no_model(tmp_path):
  with pytest.raises(UsageError, match='is a folder; name the model'):
    own.sources('', str(tmp_path))

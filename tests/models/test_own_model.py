"""--model names a file: what is made of it, and what is refused in one line."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import textwrap

import numpy as np
import pytest

from fl_research import models
from fl_research import runtime
from fl_research.algorithms.optimization import fed_avg
from fl_research.datasets.federated_data import Problem
from fl_research.models import ModelSpec
from fl_research.registry import UsageError
from tests import graphs
from tests.algorithms import harness

FLOAT, INT = np.dtype(np.float32), np.dtype(np.int32)
SPEC = ModelSpec((4,), FLOAT, (), INT, Problem.CLASSIFICATION, 3)
CODE = """
  import random
  import numpy as np
  import tensorflow as tf
  import tensorflow_federated as tff
  import beside
  L = tf.keras.layers

  def build(spec):
    hidden = [L.Dense(beside.WIDTH, 'relu') for _ in range(2)]
    last = L.Dense(spec.output_units, 'softmax')
    return tf.keras.Sequential([tf.keras.Input(spec.input_shape), *hidden, last])

  def dropping(spec):
    return tf.keras.Sequential([tf.keras.Input(spec.input_shape), L.Dropout(.5), L.Dense(3)])

  def recurrent(spec):
    x = tf.keras.Input(spec.input_shape)
    y = L.LSTM(5, dropout=.2)(L.Reshape((spec.input_shape[0], 1))(x))
    return tf.keras.Model(x, L.Dense(spec.output_units, 'softmax')(y))

  def functional(spec, last=None, from_logits=True, hidden=L.Flatten()):
    x = tf.keras.Input(spec.input_shape)
    y = L.Dense(spec.output_units, last)(hidden(x))
    return tff.learning.models.functional_model_from_keras(
      tf.keras.Model(x, y),
      tf.keras.losses.SparseCategoricalCrossentropy(from_logits),
      (tf.TensorSpec([None, *spec.input_shape]), tf.TensorSpec([None], tf.int32)),
    )

  def functional_lstm(spec):
    return functional(spec, hidden=tf.keras.Sequential([L.Reshape((2, 2)), L.LSTM(5)]))

  def other_loss(spec):
    return functional(spec, 'softmax', False)

  def ours(spec):
    from fl_research.models import layers
    return layers.sequential(layers.Dense(3))

  def nothing(spec):
    pass

  def raising(spec):
    return spec.no_such_thing

  def wide(spec):
    return tf.keras.Sequential([tf.keras.Input(spec.input_shape), L.Dense(7)])

  def tall(spec):
    return tf.keras.Sequential([tf.keras.Input((4, 1)), L.Flatten(), L.Dense(3)])
"""


@pytest.fixture(name='file', scope='module')
def _file(tmp_path_factory):
  folder = tmp_path_factory.mktemp('own')
  (folder / 'beside.py').write_text('WIDTH = 6\n')
  (folder / 'my_models.py').write_text(textwrap.dedent(CODE))
  (folder / 'broken.py').write_text('import no_such_module\n')
  (folder / 'typo.py').write_text('def build(spec)\n')
  (folder / 'saved.keras').write_text('no')
  return str(folder / 'my_models.py')


def test_a_function_of_the_spec(file):
  model = models.build(f'{file}:build', SPEC, 0)
  names = [name.rpartition('/')[0] for name in model.weight_names]
  assert names == ['dense', 'dense', 'dense_1', 'dense_1', 'dense_2', 'dense_2']
  assert model.num_parameters == 5 * 6 + 7 * 6 + 7 * 3


def test_first_weights_are_a_function_of_the_seed(file):
  before = np.random.get_state()[1].copy()
  first, same, other = (models.build(f'{file}:build', SPEC, seed) for seed in (1, 1, 2))
  kernels = [model.initial_weights[0][0] for model in (first, same, other)]
  np.testing.assert_array_equal(kernels[0], kernels[1])
  assert np.abs(kernels[0] - kernels[2]).max() > 0.01
  assert first.weight_names == other.weight_names
  np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_a_saved_model_brings_its_weights(file, tmp_path):
  model = models.build(f'{file}:build', SPEC, 1)
  weights = tuple(w + 1 for w in model.initial_weights[0])
  path = tmp_path / 'x.keras'
  model.keras_model((weights, ())).save(path)
  opened = models.build(str(path), SPEC, 2)
  for a, b in zip(opened.initial_weights[0], weights, strict=True):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize('function', ['functional_lstm', 'recurrent'])
def test_trains_alike_on_both_runtimes(file, function):
  spec = harness.model().spec
  model = models.build(f'{file}:{function}', spec, 3)
  found = []
  for name in ('fused', 'native'):
    # Keras leaves inputs in its layers' graphs that nobody feeds; rewriting takes them out.
    with graphs.rewritten(), runtime.use_context(name):
      process = harness.build(fed_avg.build(), model=model)
      found.append(harness.run(process, harness.cohorts(rounds=2)))
  harness.assert_same(*found, tolerance=harness.ANOTHER_BUILD)
  for before, after in zip(model.initial_weights[0], found[0][-1], strict=True):
    assert np.abs(after - before).max() > 1e-4


REFUSED = {
  'nothing.py:build': 'there is no file',
  'my_models.py': 'name the function that builds the model, as in --model=.*my_models.py:build',
  'my_models.py:biuld': 'has no function biuld; its functions are build, dropping',
  'my_models.py:nothing': 'nothing returns NoneType; accepted is a tf.keras.Model',
  'my_models.py:raising': "line [0-9]+: AttributeError: 'ModelSpec' object has no attribute",
  'my_models.py:wide': r'gives \[7\] for each example, where classification needs \[3\]',
  'my_models.py:tall': r'its input takes \[4, 1\] for each example, and the data have \[4\]',
  'my_models.py:other_loss': 'its loss is .* where that of classification is',
  'broken.py:build': 'line 1: ModuleNotFoundError',
  'typo.py:build': 'line 1: SyntaxError',
  'saved.keras': 'Keras cannot open it',
}


@pytest.mark.parametrize('name', REFUSED)
def test_is_refused_in_one_line(file, name):
  path = file.replace('my_models.py', name)
  with pytest.raises(UsageError, match=f'^--model=.*{name}: .*(?:{REFUSED[name]})') as caught:
    models.build(path, SPEC, 0)
  assert '\n' not in str(caught.value)

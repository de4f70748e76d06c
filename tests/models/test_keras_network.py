"""A user's Keras model trains as Keras would train it, and what cannot be trained so is refused."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import numpy as np
import pytest
import tensorflow as tf

from fl_research.datasets.federated_data import InputColumn, Problem
from fl_research.models import keras_network
from fl_research.models import model as model_lib
from fl_research.models import ModelSpec
from fl_research.registry import UsageError
from fl_research.round import minibatches, objective

FLOAT, INT = np.dtype(np.float32), np.dtype(np.int32)
keras, L = tf.keras, tf.keras.layers
Input, Sequential = tf.keras.Input, tf.keras.Sequential


def classes(*shape, count=3, dtype=FLOAT, inputs=None):
  return ModelSpec(shape, dtype, (), INT, Problem.CLASSIFICATION, count, inputs=inputs)


def chain(shape, *layers, dtype=None):
  return Sequential([Input(shape, dtype=dtype), *layers])


def attention():
  x = Input((6, 4))
  y = L.LayerNormalization()(x + L.MultiHeadAttention(2, 3)(x, x))
  return keras.Model(x, L.Dense(3)(L.GlobalAveragePooling1D()(y)))


def nested():
  inner = Sequential([L.Dense(4, 'tanh'), L.Dense(4)])
  x = Input((4,))
  return keras.Model(x, L.Dense(3)(inner(inner(x))))


class Subclass(keras.Model):
  def __init__(self):
    super().__init__()
    self.hidden = L.Dense(5, 'relu')
    self.last = L.Dense(3)

  def call(self, x):
    return self.last(self.hidden(x))


class Scaled(L.Layer):
  """A layer of the user's own, with weights."""

  def build(self, shape):
    self.scale = self.add_weight(name='scale', shape=shape[-1:], initializer='ones')
    self.offsets = [self.add_weight(name=f'offset_{i}', shape=shape[-1:]) for i in range(2)]

  def call(self, x):
    return tf.nn.relu(x * self.scale + self.offsets[0]) + self.offsets[1]


MODELS = {
  'dense': lambda: chain((4,), L.Dense(5, 'relu'), L.Dense(3)),
  'softmax': lambda: chain((4,), L.Dense(5, 'tanh'), L.Dense(3, 'softmax')),
  'softmax_layer': lambda: chain((4,), L.Dense(3), L.Softmax()),
  'own_layer': lambda: chain((4,), L.Dense(5), Scaled(), L.Dense(3)),
  'subclass': Subclass,
  'nested': nested,
  'conv': lambda: chain(
    (8, 8, 1), L.Conv2D(4, 3, activation='relu'), L.MaxPool2D(), L.Flatten(), L.Dense(3)
  ),
  'separable': lambda: chain(
    (8, 8, 2), L.SeparableConv2D(4, 3), L.DepthwiseConv2D(3), L.Flatten(), L.Dense(3)
  ),
  'normalised': lambda: chain(
    (8, 8, 1), L.Conv2D(4, 3), L.GroupNormalization(2), L.PReLU(), L.Flatten(), L.Dense(3)
  ),
  'lstm': lambda: chain((6, 4), L.LSTM(5, return_sequences=True), L.LSTM(4), L.Dense(3)),
  'masked_lstm': lambda: chain((6, 4), L.Masking(), L.LSTM(4), L.Dense(3)),
  'gru': lambda: chain((6, 4), L.GRU(5), L.Dense(3)),
  'bidirectional': lambda: chain((6, 4), L.Bidirectional(L.LSTM(4)), L.Dense(3)),
  'bidirectional_sequence': lambda: chain(
    (6, 4), L.Bidirectional(L.LSTM(4, return_sequences=True)), L.Flatten(), L.Dense(3)
  ),
  'attention': attention,
  'embedding': lambda: chain(
    (6,), L.Embedding(9, 4, mask_zero=True), L.GRU(4), L.Dense(3), dtype='int32'
  ),
}
SPECS = {'embedding': classes(6, dtype=INT)}


def spec_of(name, model):
  return SPECS.get(name) or classes(*(model.input_shape[1:] if model.built else (4,)))


def batch(spec, count=5):
  rng = np.random.default_rng(3)
  x = rng.integers(0, 9, (count, *spec.input_shape)) if spec.x_dtype == INT else None
  x = rng.standard_normal((count, *spec.input_shape)) if x is None else x
  return tf.constant(x, spec.x_dtype), tf.constant(rng.integers(0, 3, count), tf.int32)


@pytest.mark.parametrize('name', MODELS)
def test_gradient_is_that_of_a_tape_over_the_keras_model(name):
  made = MODELS[name]()
  spec = spec_of(name, made)
  ours = model_lib.Model(keras_network.network('--model=x', made, spec), spec, 0)
  x, y = batch(spec)
  with tf.GradientTape() as tape:
    answers = made(x)
    loss = keras.losses.sparse_categorical_crossentropy(
      y, answers, from_logits='softmax' not in name
    )
    loss = tf.reduce_mean(loss)
  variables = list(keras_network.named_variables(made).values())
  wanted = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, variables)]

  @tf.function
  def step(weights, x, y):
    # In a loop, as clients train.
    found = lambda weights: objective.loss_gradient(
      ours, weights, minibatches.Batch(x, y, tf.ones(len(x))), None
    )[0]
    start = tuple(tf.zeros_like(w) for w in weights)
    return tf.while_loop(lambda i, *_: i < 1, lambda i, *_: (i + 1, *found(weights)), (0, *start))[
      1:
    ]

  got = step(tuple(tf.constant(w) for w in ours.initial_weights[0]), x, y)
  for weight, a, b in zip(ours.weight_names, got, wanted, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5, err_msg=weight)
    assert np.abs(a).max() > 1e-7 or 'key/bias' in weight, f'{weight} does not move'


def dropping():
  return chain(
    (6, 4),
    L.Dropout(0.5),
    L.LSTM(5, dropout=0.2, recurrent_dropout=0.2),
    L.GaussianNoise(0.3),
    L.Dense(3),
  )


def test_draws_are_a_function_of_the_seed():
  spec = classes(6, 4)
  made = dropping()
  ours = model_lib.Model(keras_network.network('--model=x', made, spec), spec, 0)
  assert ours.needs_seed
  x, _ = batch(spec)
  weights = ours.initial_weights
  seeds = [[1, 2], [1, 2], [1, 3]]
  first, same, other = (ours.predict_on_batch(weights, x, True, tf.constant(s)) for s in seeds)
  np.testing.assert_array_equal(first, same)
  assert np.abs(first - other).max() > 0.01
  np.testing.assert_allclose(
    ours.predict_on_batch(weights, x, False), made(x), rtol=1e-5, atol=1e-6
  )


def test_a_model_without_draws_needs_no_seed():
  spec = classes(4)
  made = chain((4,), L.Dense(3), L.Dropout(0.0))
  assert not keras_network.network('--model=x', made, spec).needs_seed


def test_variables_are_back_in_their_places():
  made, spec = dropping(), classes(6, 4)
  keras_network.network('--model=x', made, spec)
  assert all(isinstance(v, tf.Variable) for v in made.trainable_variables)
  assert isinstance(made.layers[-1].kernel, tf.Variable)


FILMS = (
  InputColumn('user', 0, 1, vocabulary=5),
  InputColumn('age', 1, 2),
  InputColumn('genre', 2, 5),
  InputColumn('film', 5, 6, vocabulary=7),
)


def test_inputs_get_the_columns_of_their_names():
  spec = ModelSpec((6,), FLOAT, (), FLOAT, Problem.REGRESSION, 1, inputs=FILMS)
  user, film = Input((), dtype='int32', name='user'), Input((1,), dtype='int32', name='film')
  numbers, genre = Input((4,), name='numbers'), Input((3,), name='genre')
  match = L.Dot(1)([L.Embedding(5, 2)(user), L.Flatten()(L.Embedding(7, 2)(film))])
  made = keras.Model([film, numbers, user, genre], L.Concatenate()([match, numbers, genre])[:, :1])
  ours = model_lib.Model(keras_network.network('--model=x', made, spec), spec, 0)
  x = tf.constant([[4, 0.5, 0, 1, 0, 6], [0, -1, 1, 0, 0, 2]], tf.float32)
  parts = {'user': [4, 0], 'film': [[6], [2]], 'genre': x[:, 2:5], 'numbers': x[:, 1:5]}
  parts = {name: tf.constant(part) for name, part in parts.items()}
  np.testing.assert_allclose(
    ours.predict_on_batch(ours.initial_weights, x, False), made(parts), rtol=1e-6
  )


def test_several_outputs_stand_side_by_side():
  spec = ModelSpec((4,), FLOAT, (3,), FLOAT, Problem.MULTILABEL, 3)
  x = Input((4,))
  made = keras.Model(x, [L.Dense(1, 'sigmoid')(x), L.Dense(2)(x)])
  ours = model_lib.Model(keras_network.network('--model=x', made, spec), spec, 0)
  some, _ = batch(classes(4))
  first, second = made(some)
  output = ours.predict_on_batch(ours.initial_weights, some, False)
  np.testing.assert_allclose(tf.sigmoid(output[:, :1]), first, rtol=1e-5)
  np.testing.assert_allclose(output[:, 1:], second, rtol=1e-5)


class Drawing(L.Layer):
  def call(self, x):
    return x + tf.random.normal(tf.shape(x))


class Counting(L.Layer):
  def build(self, shape):
    self.count = self.add_weight(name='count', shape=(), trainable=False)

  def call(self, x):
    self.count.assign_add(1.0)
    return x


class Hiding(L.Layer):
  def build(self, shape):
    self.parts = {'a': self.add_weight(name='part', shape=shape[-1:])}

  def call(self, x):
    return x * self.parts['a']


class Rounding(L.Layer):
  def call(self, x):
    return tf.round(x)


class Adding(L.Layer):
  def call(self, x):
    self.add_loss(tf.reduce_sum(x))
    return x


def penalty():
  return chain((4,), L.Dense(3, kernel_regularizer='l2', name='last'))


REFUSED = {
  'batch_normalisation': (
    lambda: chain((4,), L.BatchNormalization(name='bn'), L.Dense(3)),
    'layer "bn" .*use GroupNormalization or LayerNormalization',
  ),
  'own_draws': (lambda: chain((4,), Drawing(name='noise'), L.Dense(3)), 'layer "noise" .*Random'),
  'assigning': (lambda: chain((4,), Counting(name='counter'), L.Dense(3)), "'counter'.*assign"),
  'hiding': (lambda: chain((4,), Hiding(name='h'), L.Dense(3)), 'layer "h" .*reads a variable'),
  'no_gradient': (
    lambda: chain((4,), L.Dense(2, name='first'), Rounding(), L.Dense(3)),
    'first/kernel, first/bias would never be trained',
  ),
  'penalty': (penalty, 'layer "last" .*--client_weight_decay'),
  'added_loss': (lambda: chain((4,), Adding(name='a'), L.Dense(3)), 'layer "a" .*adds a loss'),
  'half': (lambda: chain((4,), L.Dense(3, dtype='mixed_float16', name='h')), 'layer "h" .*float32'),
  'constraint': (lambda: chain((4,), L.Dense(3, kernel_constraint='non_neg')), 'constrain'),
  'stateful': (
    lambda: Sequential([Input(batch_shape=(2, 2, 2)), L.LSTM(3, stateful=True)]),
    'takes .2, 2.|fixed batch size',
  ),
  'width': (
    lambda: chain((4,), L.Dense(4)),
    r'gives \[4\] .* needs \[3\], a number for each class',
  ),
  'sigmoid': (lambda: chain((4,), L.Dense(3, 'sigmoid')), 'ends in sigmoid, .* softmax'),
  'shape': (lambda: chain((5,), L.Dense(3)), r'takes \[5\] for each example, .* have \[4\]'),
  'untrainable': (lambda: chain((4,), L.Flatten()), 'no weights to train'),
  'names': (
    lambda: keras.Model([a := Input((2,), name='a'), b := Input((2,))], L.Dense(3)(a + b)),
    'input "a" has the name of no column',
  ),
}


@pytest.mark.parametrize('name', REFUSED)
def test_what_cannot_be_trained_is_refused_by_layer(name):
  make, message = REFUSED[name]
  with pytest.raises(UsageError, match=f'^--model=x: .*(?:{message})') as caught:
    keras_network.network('--model=x', make(), classes(4))
  assert '\n' not in str(caught.value) and len(str(caught.value)) < 500

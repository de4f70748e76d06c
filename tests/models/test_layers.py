"""First weights, dropout, and the LSTM's own gradient."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import numpy as np
import tensorflow as tf

from fl_research.models import layers
from fl_research.models import recurrent


def test_convolution_starts_as_keras_does():
  size = (5, 5, 32, 64)
  keras = tf.keras.initializers.GlorotUniform(0)(size).numpy()
  ours = layers.Conv2D(64, 5).initialise((8, 8, 32), np.random.default_rng(0))[0][0]
  np.testing.assert_allclose(ours.std(), keras.std(), rtol=0.02)
  np.testing.assert_allclose(np.abs(ours).max(), np.abs(keras).max(), rtol=0.01)


def test_lstm_starts_with_open_forget_gates():
  (kernel, recurrent_kernel, bias), shape = recurrent.LSTM(3).initialise(
    (7, 5), np.random.default_rng(0)
  )
  assert shape == (7, 3) and kernel.shape == (5, 12)
  np.testing.assert_allclose(recurrent_kernel @ recurrent_kernel.T, np.eye(3), atol=1e-6)
  np.testing.assert_array_equal(bias, [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0])


def test_dropout_is_a_function_of_its_seed():
  network = layers.sequential(layers.Dropout(0.25), layers.Dropout(0.5))
  x = tf.ones([50, 400])
  first, same, other = (network((), x, tf.constant(s)).numpy() for s in ([1, 2], [1, 2], [1, 3]))
  np.testing.assert_array_equal(first, same)
  assert np.mean(first != other) > 0.3
  # What is left is scaled by 1 / (.75 * .5); the two layers' draws are independent.
  np.testing.assert_allclose(np.unique(first), [0, 1 / 0.375], rtol=1e-6)
  np.testing.assert_allclose(np.mean(first > 0), 0.375, atol=0.02)
  assert network((), x, None) is x


def test_embedding_gradient_is_dense_and_adds_repeated_ids():
  table = tf.constant(np.arange(8, dtype=np.float32).reshape(4, 2))
  with tf.GradientTape() as tape:
    tape.watch(table)
    rows = layers.Embedding(4, 2)([table], tf.constant([[2, 2], [0, 2]]))
    loss = tf.reduce_sum(rows * [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
  gradient = tape.gradient(loss, table)
  assert isinstance(gradient, tf.Tensor)
  np.testing.assert_array_equal(gradient, [[5, 6], [0, 0], [11, 14], [0, 0]])


def _lstm_loss(weights, x):
  return tf.reduce_sum(tf.sin(recurrent.LSTM(3)(weights, x)))


def _lstm_case():
  rng = np.random.default_rng(0)
  shapes = [(2, 12), (3, 12), (12,)]
  weights = [tf.constant(rng.standard_normal(shape), tf.float32) for shape in shapes]
  return weights, tf.constant(rng.standard_normal((4, 5, 2)), tf.float32)


def _directional(function, weights, direction, step=1e-2):
  """Central difference of a function of weights along a direction."""
  ahead = function([w + step * d for w, d in zip(weights, direction)])
  behind = function([w - step * d for w, d in zip(weights, direction)])
  return (ahead - behind) / (2 * step)


def test_lstm_gradient_against_finite_differences():
  weights, x = _lstm_case()
  with tf.GradientTape() as tape:
    tape.watch([*weights, x])
    loss = _lstm_loss(weights, x)
  gradients = tape.gradient(loss, [*weights, x])
  rng = np.random.default_rng(1)
  for position in range(4):
    values = [*weights, x]
    direction = [tf.zeros_like(v) for v in values]
    direction[position] = tf.constant(rng.standard_normal(values[position].shape), tf.float32)
    measured = _directional(lambda v: _lstm_loss(v[:3], v[3]), values, direction)
    expected = tf.reduce_sum(gradients[position] * direction[position])
    np.testing.assert_allclose(measured, expected, rtol=5e-3)


def test_lstm_gradient_can_be_differentiated_again():
  """Meta-learning needs the derivative of a gradient."""
  weights, x = _lstm_case()

  def slope(weights):
    with tf.GradientTape() as tape:
      tape.watch(weights)
      loss = _lstm_loss(weights, x)
    return sum(tf.reduce_sum(g * g) for g in tape.gradient(loss, weights))

  with tf.GradientTape() as tape:
    tape.watch(weights)
    value = slope(weights)
  second = tape.gradient(value, weights)
  rng = np.random.default_rng(1)
  direction = [tf.constant(rng.standard_normal(w.shape), tf.float32) for w in weights]
  measured = _directional(slope, weights, direction, 1e-3)
  expected = sum(tf.reduce_sum(s * d) for s, d in zip(second, direction))
  np.testing.assert_allclose(measured, expected, rtol=2e-2)

"""The steps of a client."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow

import numpy as np
import pytest
import tensorflow as tf

from fl_research import client_data, models
from fl_research.round import local_training
from fl_research import optimizers
from fl_research.datasets.federated_data import Problem
from fl_research.models import ModelSpec

RATE = 0.1


def image_model(name='cnn'):
  spec = ModelSpec(
    (8, 8, 1), np.dtype(np.float32), (), np.dtype(np.int32), Problem.CLASSIFICATION, 3
  )
  return models.build(name, spec, 1)


def images(count):
  generator = np.random.default_rng(0)
  return {
    'x': generator.standard_normal((count, 8, 8, 1)).astype(np.float32),
    'y': generator.integers(0, 3, count).astype(np.int32),
  }


def training(model, examples, jit=False):
  """The trained weights and the sums of one pass, in batches of 4, as a `tf.function`."""
  data = client_data.client_data(examples, batch_size=4, epochs=1, seed=1, round_num=1, client=0)

  @tf.function(autograph=False, jit_compile=jit)
  def train():
    optimizer = optimizers.build('sgd', RATE, {})
    weights = tuple(map(tf.constant, model.initial_weights[0]))
    one = tf.constant(1.0)
    result = local_training.train_locally(model, optimizer, weights, data, learning_rate_factor=one)
    return result.weights, result.sums

  return train


def descend(model, data):
  """`training` in plain steps."""
  weights = [tf.constant(w) for w in model.initial_weights[0]]
  for rows in data['batches']:
    rows = rows[rows >= 0]
    with tf.GradientTape() as tape:
      tape.watch(weights)
      output = model.predict_on_batch((tuple(weights), ()), data['examples']['x'][rows])
      loss = model.loss(output, data['examples']['y'][rows])
    weights = [w - RATE * g for w, g in zip(weights, tape.gradient(loss, weights))]
  return weights


@pytest.mark.parametrize('jit', [False, True])
def test_training_a_cnn_is_gradient_descent(jit):
  model, examples = image_model(), images(10)
  weights, sums = training(model, examples, jit)()
  data = client_data.client_data(examples, batch_size=4, epochs=1, seed=1, round_num=1, client=0)
  for found, expected in zip(weights, descend(model, data)):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
  assert float(sums['num']) == 10


@pytest.mark.parametrize('name', ['cnn', 'softmax'])
def test_maximum_and_its_gradient_share_a_graph_without_loops(name):
  graph = training(image_model(name), images(4)).get_concrete_function().graph.as_graph_def()
  operations = {f.signature.name: {n.op for n in f.node_def} for f in graph.library.function}
  pooling = [f for f in graph.library.function if 'MaxPoolGrad' in operations[f.signature.name]]
  assert len(pooling) == (name == 'cnn')
  for function in pooling:
    assert 'MaxPool' in operations[function.signature.name]
    assert function.attr['_noinline'].b

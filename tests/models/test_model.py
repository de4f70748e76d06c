"""`Model` inside TFF: its processes, its graphs, its files."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
from collections import OrderedDict

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import models
from fl_research import runtime
from fl_research.datasets.federated_data import (
  ContiguousClients,
  FederatedData,
  PooledData,
  Problem,
)
from fl_research.models import ModelSpec
from fl_research.registry import UsageError

FLOAT, INT = np.dtype(np.float32), np.dtype(np.int32)


def perceptron():
  return models.build('mlp', ModelSpec((4,), FLOAT, (), INT, Problem.CLASSIFICATION, 3), 1)


def reader():
  spec = ModelSpec(
    (6,), INT, (6,), INT, Problem.NEXT_TOKEN, 9, hyperparameters={'units': 4, 'layers': 1}
  )
  return models.build('char_lstm', spec, 1)


def step(model, weights, x, y, sample_weight=None, rate=0.1):
  """One step of gradient descent; and the batch's loss."""
  weights = [tf.convert_to_tensor(w) for w in weights]
  with tf.GradientTape() as tape:
    tape.watch(weights)
    loss = model.loss(model.predict_on_batch((tuple(weights), ()), x), y, sample_weight)
  gradients = tape.gradient(loss, weights)
  return [w - rate * g for w, g in zip(weights, gradients)], loss


def test_one_round_of_tff_fed_avg():
  model = perceptron()
  rng = np.random.default_rng(0)
  clients = [
    (rng.standard_normal((n, 4)).astype(np.float32), rng.integers(0, 3, n).astype(np.int32))
    for n in (6, 2)
  ]
  process = tff.learning.algorithms.build_weighted_fed_avg(
    model, client_optimizer_fn=tff.learning.optimizers.build_sgdm(0.1)
  )
  with runtime.use_context('native'):
    state = process.initialize()
    data = [tf.data.Dataset.from_tensor_slices(examples).batch(2) for examples in clients]
    result = process.next(state, data)
    new_weights = process.get_model_weights(result.state).trainable

  trained, sums = [], np.zeros(3)
  for x, y in clients:
    weights = model.initial_weights[0]
    for first in range(0, len(y), 2):
      batch = x[first : first + 2], y[first : first + 2]
      columns = model.example_metrics(model.predict_on_batch((weights, ()), batch[0]), batch[1])
      sums += [np.sum(columns[name]) for name in ('num', 'loss', 'accuracy')]
      weights, _ = step(model, weights, *batch)
    trained.append(weights)
  expected = [(6 * a + 2 * b) / 8 for a, b in zip(*trained)]
  for ours, theirs in zip(expected, new_weights):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
  reported = result.metrics['client_work']['train']
  assert list(reported) == ['loss', 'accuracy']
  np.testing.assert_allclose(list(reported.values()), sums[1:] / sums[0], rtol=1e-5)
  assert 0 < reported['accuracy'] < 1


@pytest.mark.parametrize('context', ['native', 'fused'])
@pytest.mark.parametrize('build', [perceptron, reader])
def test_training_loop_inside_a_tff_computation(build, context):
  """A `tf.while_loop` of steps, as client work is, is traced functionally and runs as in Python."""
  model = build()
  rng = np.random.default_rng(0)
  tops = (model.spec.num_classes, *model.spec.input_shape)
  x = rng.integers(0, tops[0], (3, 5, tops[1])).astype(model.spec.x_dtype)
  y = rng.integers(0, tops[0], (3, 5, *model.spec.label_shape)).astype(np.int32)
  padding = np.array([1, 1, 1, 0, 0], np.float32)
  weights_type = tff.to_type([(w.dtype.type, w.shape) for w in model.initial_weights[0]])

  @tf.function
  def train(weights, x, y):
    def body(i, *weights):
      new, _ = step(model, weights, x[i], y[i], padding)
      return (i + 1, *new)

    return tf.while_loop(lambda i, *_: i < 3, body, (0, *weights))[1:]

  @tff.tensorflow.computation(
    weights_type, tff.TensorType(x.dtype.type, x.shape), tff.TensorType(np.int32, y.shape)
  )
  def work(weights, x, y):
    return train(list(weights), x, y)

  proto = tff.framework.ConcreteComputation.get_proto(work).tensorflow
  graph = tf.compat.v1.GraphDef()
  proto.graph_def.Unpack(graph)
  nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
  kinds = {node.op for node in nodes}
  assert kinds & {'While', 'StatelessWhile'}
  assert not kinds & {'Enter', 'Exit', 'NextIteration', 'VarHandleOp', 'VariableV2'}

  with runtime.use_context(context):
    trained = work(list(model.initial_weights[0]), x, y)
  weights = model.initial_weights[0]
  for i in range(3):
    weights, _ = step(model, weights, x[i, :3], y[i, :3])
  for name, ours, theirs, first in zip(
    model.weight_names, trained, weights, model.initial_weights[0]
  ):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6, err_msg=name)
    assert np.abs(ours - first).max() > 1e-4, name


def test_dropout_inside_a_tff_computation_draws_the_same():
  spec = ModelSpec(
    (8, 8, 1), FLOAT, (), INT, Problem.CLASSIFICATION, 3, hyperparameters={'dropout': True}
  )
  model = models.build('emnist_cnn', spec, 0)
  x = np.random.default_rng(0).random((4, 8, 8, 1)).astype(np.float32)

  @tff.tensorflow.computation(tff.TensorType(np.int32, [2]))
  def predict(seed):
    return model.predict_on_batch(model.initial_weights, x, True, seed)

  with runtime.use_context('native'):
    first, second = predict([1, 2]), predict([3, 4])
  eager = model.predict_on_batch(model.initial_weights, x, True, tf.constant([1, 2]))
  np.testing.assert_allclose(first, eager, rtol=1e-5, atol=1e-6)
  assert np.abs(first - second).max() > 0.01


def test_saved_by_tff_and_loaded_again(tmp_path):
  model = perceptron()
  x = np.ones((2, 4), np.float32)
  tff.learning.models.save_functional_model(model, str(tmp_path))
  loaded = tff.learning.models.load_functional_model(str(tmp_path))
  np.testing.assert_allclose(
    loaded.predict_on_batch(loaded.initial_weights, x, False),
    model.predict_on_batch(model.initial_weights, x, False),
    rtol=1e-6,
  )


def test_dropout_only_in_training_with_a_seed():
  spec = ModelSpec(
    (8, 8, 1), FLOAT, (), INT, Problem.CLASSIFICATION, 3, hyperparameters={'dropout': True}
  )
  model = models.build('emnist_cnn', spec, 0)
  x = np.random.default_rng(0).random((4, 8, 8, 1)).astype(np.float32)
  run = lambda *args: model.predict_on_batch(model.initial_weights, x, *args).numpy()
  seed = tf.constant([1, 2])
  assert model.needs_seed and not perceptron().needs_seed
  plain = run(False)
  np.testing.assert_array_equal(run(False, seed), plain)
  np.testing.assert_array_equal(run(True), plain)
  assert np.abs(run(True, seed) - plain).max() > 0.01
  np.testing.assert_array_equal(run(True, seed), run(True, seed))


def test_metrics_state_sums_over_batches():
  model = perceptron()
  state = model.initialize_metrics_state()
  rng = np.random.default_rng(0)
  totals = OrderedDict()
  for n in (5, 2):
    x, y = rng.standard_normal((n, 4)).astype(np.float32), rng.integers(0, 3, n).astype(np.int32)
    output = model.predict_on_batch(model.initial_weights, x)
    batch_output = tff.learning.models.BatchOutput(loss=0.0, predictions=output, num_examples=n)
    state = model.update_metrics_state(state, y, batch_output)
    for name, column in model.example_metrics(output, y).items():
      totals[name] = totals.get(name, 0) + np.sum(column)
  final = model.finalize_metrics(state)
  assert float(state['num']) == 7
  np.testing.assert_allclose(final['loss'], totals['loss'] / 7, rtol=1e-6)
  np.testing.assert_allclose(final['accuracy'], totals['accuracy'] / 7, rtol=1e-6)


def test_spec_of_pooled_data():
  examples = {'x': np.zeros((3, 4, 5), np.float32), 'y': np.zeros(3, np.int32)}
  data = PooledData(examples, examples, Problem.CLASSIFICATION, 7)
  assert ModelSpec.from_data(data) == ModelSpec((4, 5), FLOAT, (), INT, Problem.CLASSIFICATION, 7)


def test_spec_of_federated_data_skips_empty_clients():
  examples = {'x': np.zeros((3, 2), np.int32), 'y': np.zeros(3, np.float32)}
  clients = ContiguousClients(examples, np.array([0, 0, 3]))
  data = FederatedData(clients, examples, Problem.REGRESSION, 1, vocabulary_size=(2, 9))
  spec = ModelSpec.from_data(data, {'dimension': 4})
  expected = ModelSpec(
    (2,), INT, (), FLOAT, Problem.REGRESSION, 1, (2, 9), hyperparameters={'dimension': 4}
  )
  assert spec == expected
  assert models.build('matrix_factorization', spec, 0).num_parameters == 11 * 5 + 1


def test_spec_of_nothing():
  empty = {'x': np.zeros((0, 2), np.float32), 'y': np.zeros(0, np.int32)}
  clients = ContiguousClients(empty, np.array([0, 0]))
  with pytest.raises(UsageError, match='no training examples'):
    ModelSpec.from_data(FederatedData(clients, empty, Problem.BINARY, 2))

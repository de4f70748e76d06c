"""What a client draws while it trains."""

import numpy as np
import pytest
import tensorflow as tf

from fl_research import client_data, models, optimizers
from fl_research.datasets.federated_data import Problem
from fl_research.models import specification
from fl_research.round import client as client_lib
from tests.algorithms import harness
from tests.oracles import softmax_regression as problem

X = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype(np.float32)
EXAMPLES = {'x': X, 'y': np.arange(8, dtype=np.int32) % 3}


@pytest.fixture(scope='module')
def model():
  """One that leaves out units in every step."""
  spec = specification.ModelSpec(
    input_shape=(8, 8, 1),
    x_dtype=np.dtype(np.float32),
    label_shape=(),
    label_dtype=np.dtype(np.int32),
    problem=Problem.CLASSIFICATION,
    num_classes=3,
    hyperparameters={'dropout': True},
  )
  return models.build('emnist_cnn', spec, seed=1)


@pytest.fixture(scope='module')
def calls(model):
  """The gradients of two calls by each of: a client, the same again, and one in a second trip."""
  data = client_data.client_data(EXAMPLES, batch_size=4, epochs=1, seed=1, round_num=1, client=0)

  @tf.function(autograph=False)
  def two(exchange):
    sgd = optimizers.build('sgd', 0.1, {})
    client = client_lib.Client(model, sgd, data, exchange=exchange)
    weights = tuple(map(tf.constant, model.initial_weights[0]))
    join = lambda gradient: tf.concat([tf.reshape(g, [-1]) for g in gradient], 0)
    return [join(client.gradient(weights)[0]) for _ in range(2)]

  return {'first': two(0), 'again': two(0), 'second trip': two(1)}


def test_the_same_calls_draw_the_same(calls):
  for one, other in zip(calls['first'], calls['again']):
    np.testing.assert_array_equal(one, other)


def test_every_call_of_a_round_draws_anew(calls):
  found = [*calls['first'], *calls['second trip']]
  for i, one in enumerate(found):
    for other in found[:i]:
      assert np.abs(np.asarray(one) - other).max() > 1e-4


@pytest.mark.parametrize('epochs', [0.5, 1, 1.5, 2])
def test_gradient_and_loss_of_one_pass_count_each_example_once(epochs):
  data = harness.cohorts(epochs=epochs, rounds=1)[0][0]
  model = harness.model()
  client = client_lib.Client(model, optimizers.build('sgd', 0.1, {}), data)
  weights = tuple(map(tf.constant, model.initial_weights[0]))
  gradient, trained = client.gradient(weights, one_pass=True)
  first = list(problem.batches(data))[:3]
  x, y = (np.concatenate(part) for part in zip(*first))
  for found, expected in zip(gradient, problem.gradient(model.initial_weights[0], x, y)):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
  assert (int(trained.num_steps), float(trained.sums['num'])) == (1, len(y))
  loss = model.loss(model.predict_on_batch((weights, ()), x), y)
  np.testing.assert_allclose(client.mean_loss(weights), loss, rtol=1e-6)

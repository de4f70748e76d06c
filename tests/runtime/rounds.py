"""Rounds of federated averaging small enough to be tested on every runtime."""

import collections

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

FEATURES = 6
OUTPUTS = 3
BATCH_SIZE = 4

WEIGHTS = tff.StructWithPythonType(
  [tff.TensorType(np.float32, (FEATURES, OUTPUTS)), tff.TensorType(np.float32, (OUTPUTS,))], list
)
DATA = tff.StructWithPythonType(
  collections.OrderedDict(
    examples=collections.OrderedDict(
      x=tff.TensorType(np.float32, (None, FEATURES)), y=tff.TensorType(np.int32, (None,))
    ),
    batches=tff.TensorType(np.int32, (None, BATCH_SIZE)),
    num_examples=np.int32,
    seed=tff.TensorType(np.int32, (2,)),
  ),
  collections.OrderedDict,
)
STATE = tff.FederatedType(WEIGHTS, tff.SERVER)
CLIENTS_DATA = tff.FederatedType(DATA, tff.CLIENTS)


def first_weights():
  rng = np.random.default_rng(7)
  weights = rng.normal(scale=0.3, size=(FEATURES, OUTPUTS)).astype(np.float32)
  return [weights, np.zeros(OUTPUTS, np.float32)]


def client(seed: int, size: int):
  """A client's data with `size` examples, whose labels a linear model can learn."""
  rng = np.random.default_rng(seed)
  x = rng.normal(scale=FEATURES**-0.5, size=(size, FEATURES)).astype(np.float32)
  order = np.full(-(-size // BATCH_SIZE) * BATCH_SIZE, -1, np.int32)
  order[:size] = rng.permutation(size)
  return collections.OrderedDict(
    examples=collections.OrderedDict(x=x, y=x[:, :OUTPUTS].argmax(1).astype(np.int32)),
    batches=order.reshape(-1, BATCH_SIZE),
    num_examples=np.int32(size),
    seed=np.array([seed, 0], np.int32),
  )


def clients(sizes):
  return [client(seed, size) for seed, size in enumerate(sizes)]


@tf.function
def _train(weights, data):
  steps = tf.reduce_sum(tf.cast(tf.reduce_any(data['batches'] >= 0, axis=1), tf.int32))

  def step(index, weights):
    rows = data['batches'][index]
    mask = tf.cast(rows >= 0, tf.float32)[:, tf.newaxis]
    x = tf.gather(data['examples']['x'], tf.maximum(rows, 0))
    y = tf.one_hot(tf.gather(data['examples']['y'], tf.maximum(rows, 0)), OUTPUTS)
    # Products and sums only: builds of TensorFlow differ little in them, in the last bits.
    error = (x @ weights[0] + weights[1] - y) * mask
    gradient = [tf.transpose(x) @ error, tf.reduce_sum(error, axis=0)]
    return index + 1, [w - 0.125 * g for w, g in zip(weights, gradient)]

  return tf.while_loop(lambda index, _: index < steps, step, (0, list(weights)))[1]


@tff.tensorflow.computation(DATA, WEIGHTS)
def client_update(data, weights):
  trained = _train(weights, data)
  return [new - old for new, old in zip(trained, weights)], tf.cast(
    data['num_examples'], tf.float32
  )


@tff.tensorflow.computation(WEIGHTS, WEIGHTS)
def server_update(weights, delta):
  return [w + d for w, d in zip(weights, delta)]


@tff.federated_computation(STATE, CLIENTS_DATA)
def next_round(state, data):
  """(<S@SERVER, {D}@CLIENTS> -> <S@SERVER, examples@SERVER>), weighted federated averaging."""
  delta, examples = tff.federated_map(client_update, (data, tff.federated_broadcast(state)))
  mean = tff.federated_mean(delta, examples)
  return tff.federated_map(server_update, (state, mean)), tff.federated_sum(examples)

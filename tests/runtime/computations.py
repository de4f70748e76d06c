"""TFF computations of every kind, and what to give them."""

import collections
import functools

import attrs
import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

FLOAT, INT = np.float32, np.int32
AT_CLIENTS = tff.FederatedType(FLOAT, tff.CLIENTS)
INTS_AT_CLIENTS = tff.FederatedType(INT, tff.CLIENTS)
VECTOR = tff.TensorType(FLOAT, (3,))


def tensorflow(function, *types):
  return tff.tensorflow.computation(function, *types)


@attrs.define
class Pair:
  left: object
  right: object


@tff.tensorflow.computation(FLOAT)
def containers(x):
  return collections.OrderedDict(
    z=x + 1, a=[tf.stack([x, x]), tf.constant('text')], pair=Pair(left=x, right=(x > 0, x))
  )


@tff.federated_computation(AT_CLIENTS)
def left_at_clients(x):
  return tff.federated_sum(x), tff.federated_map(containers, x)


@tff.federated_computation(AT_CLIENTS)
def broadcast_of_aggregate(x):
  mean = tff.federated_broadcast(tff.federated_mean(x))
  centred = tff.federated_map(tensorflow(lambda x, m: x - m, FLOAT, FLOAT), (x, mean))
  return centred, tff.federated_max(centred), tff.federated_min(x), mean


@tff.federated_computation(
  tff.FederatedType(FLOAT, tff.SERVER), AT_CLIENTS, tff.FederatedType(FLOAT, tff.CLIENTS)
)
def three_parameters(state, x, weight):
  return state, tff.federated_mean(x, weight), x


@tff.federated_computation(tff.FederatedType(INT, tff.CLIENTS))
def secure_sums(x):
  return (
    tff.federated_secure_sum(x, 100),
    tff.federated_secure_sum_bitwidth(x, 8),
    tff.federated_sum(x),
  )


@tff.federated_computation(
  tff.FederatedType(tff.TensorType(FLOAT, (4,)), tff.SERVER),
  tff.FederatedType(tff.TensorType(INT, (2,)), tff.CLIENTS),
)
def select(table, keys):
  rows = tff.federated_select(
    keys,
    tff.federated_value(4, tff.SERVER),
    table,
    tensorflow(lambda t, k: t[k], tff.TensorType(FLOAT, (4,)), INT),
  )
  total = tensorflow(lambda rows: rows.reduce(0.0, lambda a, b: a + b), tff.SequenceType(FLOAT))
  return tff.federated_sum(tff.federated_map(total, rows))


@tff.federated_computation(tff.FederatedType(tff.TensorType(FLOAT, (None, 3)), tff.CLIENTS))
def joined(x):
  rows = tff.TensorType(FLOAT, (None, 3))
  concatenate = lambda a, b: tf.concat([a, b], axis=0)
  return tff.federated_aggregate(
    x,
    tensorflow(lambda: tf.zeros([0, 3]))(),
    tensorflow(concatenate, rows, rows),
    tensorflow(concatenate, rows, rows),
    tensorflow(lambda a: tf.sort(a, axis=0), rows),
  )


@tff.federated_computation(tff.FederatedType(tff.TensorType(FLOAT, (None, None)), tff.CLIENTS))
def two_unknown_dimensions(x):
  return x, tff.federated_map(
    tensorflow(lambda x: tf.transpose(x), tff.TensorType(FLOAT, (None, None))), x
  )


def _with_variable(x):
  variable = tf.Variable(1.0)
  with tf.control_dependencies([variable.assign_add(x)]):
    return variable.read_value()


with_variable = tensorflow(lambda x: _with_variable(x), FLOAT)


@tff.federated_computation(AT_CLIENTS)
def variables(x):
  return tff.federated_map(with_variable, x), tff.federated_sum(tff.federated_map(with_variable, x))


def _look_up(x):
  initializer = tf.lookup.KeyValueTensorInitializer(['a', 'b'], [1, 2])
  return tf.lookup.StaticHashTable(initializer, -1).lookup(x)


@tff.federated_computation(tff.FederatedType(tff.TensorType(np.str_), tff.CLIENTS))
def tables(x):
  return tff.federated_map(tensorflow(lambda x: _look_up(x), tff.TensorType(np.str_)), x)


@tff.federated_computation(tff.FederatedType(tff.SequenceType(INT), tff.CLIENTS))
def sequences(x):
  total = tensorflow(lambda d: d.reduce(np.int32(0), lambda a, b: a + b), tff.SequenceType(INT))
  return tff.federated_sum(tff.federated_map(total, x))


def _add(a, b):
  return a + b


def _total(dataset):
  return dataset.reduce(np.int32(0), _add)


@tf.function
def _reductions(dataset, variable):
  """Of what was mapped, of an endless set's beginning, of sets in a set, of none; and a loop."""

  def also_assigns(count, value):
    variable.assign(2 * variable + value)
    return count + 1

  endless = dataset.repeat().map(lambda x: x + 1).take(7)
  squares = dataset.window(2).map(lambda window: _total(window) ** 2)
  count = dataset.filter(lambda x: x > 1).reduce(0, also_assigns)
  pairs = dataset.batch(2).reduce(
    (tf.zeros([0], tf.int32), 0.5), lambda state, x: (tf.concat([state[0], x], 0), state[1] * 2)
  )
  looped = tf.constant(0)
  for element in dataset.batch(3):
    looped += tf.size(element) * looped + 1
  none = _total(dataset.take(0))
  return _total(endless), _total(squares), count, variable.read_value(), pairs, looped, none


@functools.cache
def reductions():
  """Traced when it is needed, by the process that needs it, as it takes a while."""

  @tff.federated_computation(tff.FederatedType(tff.SequenceType(INT), tff.CLIENTS))
  def computation(x):
    reduce = lambda dataset: _reductions(dataset, tf.Variable(1))
    return tff.federated_map(tensorflow(reduce, tff.SequenceType(INT)), x)

  return computation


@functools.cache
def sampled():
  """Traced when it is needed, like `reductions`."""

  @tff.federated_computation(AT_CLIENTS)
  def computation(x):
    sampler = tff.aggregators.UnweightedReservoirSamplingFactory(sample_size=10)
    process = sampler.create(tff.TensorType(FLOAT))
    return process.next(process.initialize(), x).result

  return computation


@tff.federated_computation
def at_server():
  return tff.federated_value(3.0, tff.SERVER)


@tff.federated_computation(FLOAT)
def without_placement(x):
  return containers(x), x


@tff.federated_computation(AT_CLIENTS)
def only_a_sum(x):
  return tff.federated_sum(x)


INTS = tf.data.Dataset.range(4).map(lambda x: tf.cast(x, tf.int32))

CASES = {
  'local': (containers, [2.0]),
  'left_at_clients': (left_at_clients, [[1.0, -2.0, 5.0]]),
  'broadcast_of_aggregate': (broadcast_of_aggregate, [[1.0, 2.0, 6.0, -1.0]]),
  'three_parameters': (three_parameters, [2.0, [1.0, 3.0], [1.0, 3.0]]),
  'secure_sums': (secure_sums, [[1, 2, 3]]),
  'select': (select, [np.arange(4, dtype=FLOAT), [[0, 1], [3, 3], [2, 2]]]),
  'joined': (joined, [[np.full([n, 3], n, FLOAT) for n in (2, 0, 3, 1)]]),
  'two_unknown_dimensions': (
    two_unknown_dimensions,
    [[np.arange(6, dtype=FLOAT).reshape(3, 2), np.ones([1, 4], FLOAT), np.ones([0, 5], FLOAT)]],
  ),
  'variables': (variables, [[1.0, 2.0, 4.0]]),
  'tables': (tables, [['a', 'b', 'c']]),
  'sequences': (sequences, [[[1, 2], [3], INTS]]),
  'reductions': (reductions, [[[1, 2], [3], INTS]]),
  'sampled': (sampled, [[1.0, 2.0, 3.0]]),
  'at_server': (at_server, []),
  'without_placement': (without_placement, [1.0]),
  'one_client': (only_a_sum, [[2.5]]),
  'no_clients': (only_a_sum, [[]]),
  'nan': (only_a_sum, [[1.0, float('nan')]]),
}

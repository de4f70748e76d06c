"""Tests of the bridge to TFF's client data, both ways, and of its databases' errors."""

import collections
import pathlib
import sqlite3
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import runtime
from fl_research.datasets import files, tff_bridge
from fl_research.datasets.federated_data import ContiguousClients
from fl_research.registry import UsageError
from tests import slow_machines
from tests.datasets import tff_database

_ARRAYS = {
  'x': np.arange(12, dtype=np.float32).reshape(6, 2),
  'y': np.arange(6, dtype=np.int32),
}


def _clients() -> ContiguousClients:
  return ContiguousClients(_ARRAYS, np.array([0, 1, 4, 4, 6]), ['d', 'b', 'a', 'c'])


def _identity(raw):
  return {'x': raw['x'], 'y': raw['y']}


def test_there_and_back():
  clients = tff_bridge.from_client_data(tff_bridge.to_client_data(_clients()), _identity)
  assert list(clients.ids) == ['d', 'b', 'a', 'c']
  assert clients.sizes.tolist() == [1, 3, 0, 2]
  for position in range(4):
    own, expected = clients.examples(position), _clients().examples(position)
    np.testing.assert_array_equal(own['x'], expected['x'])
    np.testing.assert_array_equal(own['y'], expected['y'])
    assert own['x'].dtype == np.float32 and own['y'].dtype == np.int32
    assert own['x'].shape[1:] == (2,)


def test_tffs_view_of_our_clients():
  client_data = tff_bridge.to_client_data(_clients())
  assert client_data.client_ids == ['d', 'b', 'a', 'c']
  dataset = client_data.create_tf_dataset_for_client('b')
  assert dataset.element_spec == client_data.element_type_structure
  elements = list(dataset.as_numpy_iterator())
  assert [int(element['y']) for element in elements] == [1, 2, 3]
  assert list(elements[0]) == ['x', 'y']
  with pytest.raises(ValueError, match="no client 'e'"):
    client_data.create_tf_dataset_for_client('e')
  everything = client_data.create_tf_dataset_from_all_clients(seed=1)
  assert sorted(int(element['y']) for element in everything.as_numpy_iterator()) == [*range(6)]


def test_ids_that_tff_cannot_take():
  with pytest.raises(ValueError, match='ids that differ'):
    tff_bridge.to_client_data(ContiguousClients(_ARRAYS, np.array([0, 3, 6]), ['a', 'a']))


def test_tffs_own_learning_process_trains_on_our_clients():
  """One round of TFF's federated averaging on y = x w: the weights move as by hand."""
  x = np.float32([[1], [2], [1], [3]])
  clients = ContiguousClients({'x': x, 'y': np.float32(2 * x)}, np.array([0, 2, 4]))
  client_data = tff_bridge.to_client_data(clients)

  def model():
    keras_model = tf.keras.Sequential(
      [tf.keras.layers.Dense(1, use_bias=False, kernel_initializer='zeros', input_shape=(1,))]
    )
    spec = collections.OrderedDict(
      x=tf.TensorSpec([None, 1], tf.float32), y=tf.TensorSpec([None, 1], tf.float32)
    )
    return tff.learning.models.from_keras_model(
      keras_model, loss=tf.keras.losses.MeanSquaredError(), input_spec=spec
    )

  process = tff.learning.algorithms.build_weighted_fed_avg(
    model,
    client_optimizer_fn=tff.learning.optimizers.build_sgdm(0.1),
    server_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0),
  )
  data = [client_data.create_tf_dataset_for_client(i).batch(2) for i in client_data.client_ids]
  with runtime.use_context('native'):
    output = process.next(process.initialize(), data)
    [weights] = process.get_model_weights(output.state).trainable
  runtime.shutdown()
  # -0.1 dMSE/dw at w = 0: 0.1 * 2 * mean(2 x^2) = 1 for x = (1, 2), 2 for x = (1, 3).
  assert float(weights[0, 0]) == pytest.approx(1.5)


def test_most_examples():
  clients = tff_bridge.from_client_data(
    tff_bridge.to_client_data(_clients()), _identity, np.array([1, 3, 0, 2]), most_examples=2
  )
  assert clients.sizes.tolist() == [1, 2, 0, 2]
  assert clients.examples(1)['y'].tolist() == [1, 2]


def test_read_all():
  client_data = tff_bridge.to_client_data(_clients())
  read = tff_bridge.read_all(tff_bridge.from_client_data(client_data, _identity))
  assert read.sizes.tolist() == [1, 3, 0, 2]
  np.testing.assert_array_equal(read.pooled()['x'], _ARRAYS['x'])


def test_central_test_is_bounded_and_seeded():
  clients = _clients()
  assert tff_bridge.central_test(clients, 6, seed=1)['y'].tolist() == [0, 1, 2, 3, 4, 5]
  drawn = [tff_bridge.central_test(clients, 3, seed)['y'].tolist() for seed in (1, 1, 2, 3, 4)]
  assert all(len(labels) == 3 for labels in drawn)
  assert drawn[0] == drawn[1]
  assert len({tuple(labels) for labels in drawn}) > 1


def test_offline_names_address_and_place(tmp_path, monkeypatch):
  monkeypatch.setattr(tff_bridge, 'URL', 'http://127.0.0.1:1/')
  with pytest.raises(UsageError) as caught:
    tff_bridge.fetch_database(str(tmp_path), 'emnist_all.sqlite')
  message = str(caught.value)
  assert 'http://127.0.0.1:1/emnist_all.sqlite.lzma' in message
  assert message.endswith(f'put the file at {tmp_path}/tff/emnist_all.sqlite')
  assert '\n' not in message


def _write_text(path: pathlib.Path):
  path.write_text('this is not a database ' * 100)


def _write_other_tables(path: pathlib.Path):
  with sqlite3.connect(path) as connection:
    connection.execute('CREATE TABLE other (id TEXT)')


@pytest.mark.parametrize('write', [_write_text, _write_other_tables])
def test_files_that_are_no_database_of_tff(tmp_path, write):
  path = tmp_path / 'emnist_all.sqlite'
  write(path)
  with pytest.raises(UsageError, match="not a database of TFF's format") as caught:
    tff_bridge.database_sizes(path, 'all_train')
  assert str(path) in str(caught.value) and '\n' not in str(caught.value)


def test_database_without_the_split(tmp_path):
  tff_database.write(tmp_path / 'a.sqlite', {'train': {'k': [{'label': 1}]}})
  with pytest.raises(UsageError, match="no clients of the split 'test'"):
    tff_bridge.database_sizes(tmp_path / 'a.sqlite', 'test')


def test_unreadable_examples_name_the_client(tmp_path):
  path = tmp_path / 'tff' / 'cifar100.sqlite'
  tff_database.write(path, {s: {'k': [{'label': 1}]} for s in ('train', 'test')})
  train, _ = tff.simulation.datasets.cifar100.load_data(cache_dir=str(path.parent))
  clients = tff_bridge.from_client_data(train, _identity)
  with pytest.raises(UsageError, match='client k: its examples cannot be read') as caught:
    clients.examples(0)
  assert '\n' not in str(caught.value)


def test_many_clients_open_fast(tmp_path):
  """100,000 clients: opened from the metadata, nothing read but the client asked for."""
  path = tmp_path / 'tff' / 'many.sqlite'
  tff_database.write(path, {'train': {'00001': [{'label': 7}, {'label': 8}]}})
  with sqlite3.connect(path) as connection:
    connection.executemany(
      "INSERT INTO client_metadata VALUES (?, 'train', 2)",
      [(f'{number:05d}',) for number in range(100_000) if number != 1],
    )
  parse = lambda proto: tf.io.parse_example(proto, {'label': tf.io.FixedLenFeature([], tf.int64)})
  start = time.process_time()
  sizes = tff_bridge.database_sizes(path, 'train')
  client_data = tff.simulation.datasets.SqlClientData(str(path), 'train').preprocess(
    lambda dataset: dataset.map(parse)
  )
  clients = tff_bridge.from_client_data(
    client_data, lambda raw: {'x': raw['label'], 'y': raw['label']}, sizes
  )
  assert clients.examples(1)['y'].tolist() == [7, 8]
  assert time.process_time() - start < slow_machines.seconds(2)
  assert len(clients) == 100_000
  assert clients.sizes.sum() == 200_000
  assert files.sha256_of(path)

"""Experiments in Python: the same rows as those of the binaries."""

import re

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from experiments import train
import fl_research as fl
from fl_research import settings as settings_lib
from fl_research.datasets.federated_data import FederatedData, Problem
from fl_research.datasets.splits import clients_by_owner

_SETTINGS = {'num_clients': 6, 'clients_per_round': 3, 'seed': 4, 'algorithm': 'feddyn'}


@pytest.fixture(scope='module')
def experiment():
  return fl.experiment('digits', **_SETTINGS)


def test_the_rows_of_metrics_csv(experiment, tmp_path):
  settings = settings_lib.from_flags(
    {**_SETTINGS, 'task': 'digits', 'total_rounds': 3, 'tensorboard': False}
    | {'output_dir': str(tmp_path), 'experiment_name': 'run', 'clients_csv': True}
  )
  train.train(settings)
  written = pd.read_csv(tmp_path / 'run' / 'metrics.csv', float_precision='round_trip')
  experiment.run(rounds=1)
  rows = experiment.run(rounds=2)
  timeless = [name for name in written if name != 'seconds']
  assert list(rows) == list(written) and len(rows) == 4
  found = rows[timeless].replace('', np.nan)
  pd.testing.assert_frame_equal(found, written[timeless], check_dtype=False, rtol=0)
  of_clients = pd.read_csv(tmp_path / 'run' / 'clients.csv', float_precision='round_trip')
  pd.testing.assert_frame_equal(experiment.client_metrics, of_clients, check_dtype=False, rtol=0)
  model = np.load(tmp_path / 'run' / 'model.npz')
  assert list(experiment.weights) == model.files
  assert all((experiment.weights[name] == model[name]).all() for name in model.files)


def test_counts_are_whole_numbers(experiment):
  rows = experiment.run(rounds=1)
  assert rows['participants'].dtype == 'Int64' and rows['participants'].isna().tolist()[0]


def test_a_keras_model_with_the_weights(experiment):
  images = np.random.default_rng(0).random((5, 8, 8, 1), np.float32)
  kernel, bias = experiment.weights.values()
  logits = images.reshape(5, -1) @ kernel + bias
  np.testing.assert_allclose(experiment.keras_model()(images), logits, rtol=1e-5, atol=1e-5)


def test_data_that_are_there_already():
  draws = np.random.default_rng(1)
  x, y = draws.normal(size=(28, 4)).astype(np.float32), draws.integers(3, size=28, dtype=np.int32)
  owner = np.repeat([0, 1, 2], [12, 7, 9])
  clients = clients_by_owner({'x': x, 'y': y}, owner, ['ada', 'bob', 'eve'])
  data = FederatedData(clients, {'x': x, 'y': y}, Problem.CLASSIFICATION, 3)
  experiment = fl.experiment(data, model='softmax', client_batch_size=4)
  rows = experiment.run(rounds=2)
  assert rows['participants'].tolist()[1:] == [3, 3]
  assert rows['eval/loss'].notna().all()


def _hospitals():
  draws = np.random.default_rng(1)
  age = draws.integers(20, 90, 60)
  columns = {'hospital': np.repeat(['north', 'south', 'west'], 20), 'age': age}
  return pd.DataFrame({**columns, 'sick': np.where(age > 50, 'yes', 'no')})


def test_a_table_and_answers_to_new_rows():
  table = _hospitals()
  experiment = fl.experiment(fl.from_table(table, label='sick', client='hospital'), seed=2)
  rows = experiment.run(rounds=15)
  found = experiment.predict(pd.DataFrame({'age': [21, 88]}))
  assert rows['eval/accuracy'].iloc[-1] > 0.9
  assert list(found) == ['predicted', 'probability_no', 'probability_yes']
  assert found['predicted'].tolist() == ['no', 'yes']


def test_a_tables_rows_can_be_dealt_out():
  data = fl.from_table(_hospitals(), label='sick', columns={'hospital': 'ignore'})
  experiment = fl.experiment(data, num_clients=5, partition='iid', model='softmax')
  assert len(experiment.data.train) == 5 and len(experiment.run(rounds=1)) == 2


def _pictures(count, draws):
  return draws.integers(0, 255, (count, 8, 8), np.uint8), np.arange(count) % 3


def test_arrays_and_data_sets_are_the_same_data():
  draws = np.random.default_rng(5)
  clients, test = ({k: _pictures(n, draws) for k in ('ada', 'bob')} for n in (12, 4))
  data = fl.from_arrays(clients, test)
  sets = lambda pairs: {k: tf.data.Dataset.from_tensor_slices(pair) for k, pair in pairs.items()}
  same = fl.from_datasets(sets(clients), sets(test))
  for found in (data, same):
    assert list(found.train.ids) == ['ada', 'bob'] and found.test_clients.sizes.tolist() == [4, 4]
    np.testing.assert_array_equal(found.train.examples(1)['y'], clients['bob'][1])
    np.testing.assert_allclose(found.train.examples(1)['x'][..., 0], clients['bob'][0] / 255)
  experiment = fl.experiment(data, model='softmax')
  experiment.run(rounds=1)
  assert experiment.predict(np.zeros((2, 8, 8, 1))).shape == (2, 4)


def test_data_sets_of_mappings():
  x, y = np.arange(12.0).reshape(6, 2), np.arange(6) % 2
  data = fl.from_datasets({'ada': [{'x': a, 'y': b} for a, b in zip(x, y)]})
  assert data.problem is Problem.BINARY and len(data.train.examples(0)['y']) == 5


_BAD_DATA = {
  'the data has hospital, age': lambda: fl.from_table(_hospitals(), label='sic', client='hospital'),
  'client a: x is [3] and y is [4]': lambda: fl.from_arrays({'a': (np.ones(3), np.ones(4))}),
  'client a: expected are two arrays': lambda: fl.from_arrays({'a': np.ones(3)}),
  'x of client b has examples of shape [1], that of a [2]': lambda: fl.from_arrays(
    {'a': (np.ones((3, 2)), np.arange(3)), 'b': (np.ones((3, 1)), np.arange(3))}
  ),
  'there are no clients': lambda: fl.from_arrays({}),
  'every label is 0': lambda: fl.from_arrays({'a': (np.ones((3, 2)), np.zeros(3, int))}),
  'client a: expected are examples (x, y), at least one': lambda: fl.from_datasets({'a': []}),
  'no such file or folder': lambda: fl.import_data('nowhere.csv'),
}


@pytest.mark.parametrize('line', _BAD_DATA)
def test_data_that_are_refused(line):
  with pytest.raises(fl.UsageError, match=re.escape(line)) as refusal:
    _BAD_DATA[line]()
  assert '/tmp' not in str(refusal.value)


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'algoritm': 'fedavg'}, r'algoritm: there is no such setting \(did you mean algorithm\?\)'),
    ({'algorithm': 'fedpro'}, r'--algorithm=fedpro: unknown'),
    ({'fedprox_mu': 0.1}, r'--fedprox_mu=0.1: not read by this run'),
    ({'output_dir': 'x'}, 'output_dir: an Experiment writes nothing'),
    ({'seed': 1.5}, r'--seed=1.5: accepted is an integer'),
    ({'tensorboard': True}, 'tensorboard: an Experiment writes nothing'),
    ({'dp_noise_multiplier': 1.0}, 'total_rounds: must be given under differential privacy'),
  ],
)
def test_settings_that_are_refused(settings, message):
  with pytest.raises(fl.UsageError, match=message):
    fl.experiment('digits', **settings)


def test_what_is_no_data():
  with pytest.raises(fl.UsageError, match='data is of type int'):
    fl.experiment(3)
  with pytest.raises(fl.UsageError, match=r'run\(rounds=0\)'):
    fl.experiment('digits').run(rounds=0)
  with pytest.raises(AttributeError, match='no_such'):
    _ = fl.no_such

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
  'client_colum says nothing of how files are read (did you mean client_column?)': (
    lambda: fl.import_data('nowhere.csv', client_colum='site')
  ),
  'total_rounds says nothing': lambda: fl.import_data('nowhere.csv', total_rounds=3),
  'import_data: is given a int': lambda: fl.import_data(3),
  'from_table: is given a dict; expected is a DataFrame': lambda: fl.from_table({}, label='sick'),
  'columns are roles by column': lambda: fl.from_table(_hospitals(), 'sick', columns='age:ignore'),
  'no such column; the data has': lambda: fl.from_table(_hospitals(), label=None),
  'age is in the index; give table.reset_index()': (
    lambda: fl.from_table(_hospitals().set_index('age'), label='sick', client='age')
  ),
  'several columns are named age': lambda: fl.from_table(_hospitals()[['age', 'age']], 'age'),
  'Conversion failed for column age': (
    lambda: fl.from_table(_hospitals().assign(age=1j), label='sick')
  ),
  'from_arrays: is given a list': lambda: fl.from_arrays([]),
  'client a: expected are examples (x, y), at least': lambda: fl.from_datasets({'a': [1, 2]}),
  "an example has no 'x'": lambda: fl.from_datasets({'a': [{'image': 1}]}),
  'client a: is a data set of batches; give dataset.unbatch()': (
    lambda: fl.from_datasets({'a': tf.data.Dataset.range(4).map(lambda k: (k, k)).batch(2)})
  ),
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
  with pytest.raises(fl.UsageError, match='from_table'):
    fl.experiment(pd.DataFrame())
  with pytest.raises(fl.UsageError, match=r"is a file; give import_data\('README.md', …\)"):
    fl.experiment('README.md')
  with pytest.raises(fl.UsageError, match='model: is of type int; accepted are'):
    fl.experiment('digits', model=3)


def test_rounds_that_are_no_number(experiment):
  for rounds in (0, 1.5, '3'):
    with pytest.raises(fl.UsageError, match=rf'run\(rounds={rounds}\)'):
      experiment.run(rounds=rounds)
  with pytest.raises(AttributeError, match='no_such'):
    _ = fl.no_such


def _build(spec):
  return tf.keras.Sequential(
    [
      tf.keras.Input(spec.input_shape),
      tf.keras.layers.Flatten(),
      tf.keras.layers.Dense(spec.output_units, name='head'),
    ]
  )


def test_a_model_of_the_program():
  x = np.random.default_rng(2).integers(0, 255, (40, 6, 6), dtype=np.uint8)
  data = fl.from_arrays({name: (x, x[:, 0, 0] // 100) for name in ('ada', 'bob')})
  drawn = fl.experiment(data, model=_build, seed=3)
  assert len(drawn.run(rounds=1)) == 2
  own = drawn.keras_model()
  brought = fl.experiment(data, model=own)
  for name, array in drawn.weights.items():
    np.testing.assert_array_equal(brought.weights[name], array)
  again = fl.experiment(data, model=_build, seed=3)
  assert again.run(rounds=1)['train/loss'].iloc[1] == drawn.metrics['train/loss'].iloc[1]
  # Bytes are scaled as those of the data were; what is fractions already is not.
  of_bytes, of_fractions = brought.predict(x), brought.predict(x[..., None] / np.float32(255))
  pd.testing.assert_frame_equal(of_bytes, of_fractions, rtol=1e-4)
  with pytest.raises(fl.UsageError, match='returns NoneType'):
    fl.experiment(data, model=lambda spec: None)

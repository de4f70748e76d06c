"""The table of tasks."""

import subprocess
import sys

import numpy as np
import pytest

from fl_research import datasets, models, registry, tasks
from fl_research.datasets.federated_data import (
  ContiguousClients,
  DatasetOptions,
  FederatedData,
  PooledData,
  Problem,
)


def test_every_task_names_things_that_exist():
  for name, task in tasks.TASKS.items():
    assert task.name == name
    assert task.dataset in datasets.NAMES
    assert set(task.models) <= set(models.NAMES)
    assert task.default_model in task.models
    assert len(set(task.models)) == len(task.models)


def test_every_data_set_has_a_task_and_every_model_too():
  assert {task.dataset for task in tasks.TASKS.values()} == set(datasets.NAMES)
  assert {model for task in tasks.TASKS.values() for model in task.models} == set(models.NAMES)


def test_unknown_task_names_the_nearest():
  with pytest.raises(registry.UsageError, match=r'--task=minst: unknown \(did you mean mnist\?\)'):
    tasks.get_task('minst')


def test_every_model_of_a_task_fits_its_data():
  task = tasks.get_task('digits')
  spec = models.ModelSpec.from_data(task.load(DatasetOptions(data_dir='none')))
  for name in task.models:
    assert models.build(name, spec, 0).weight_names


def test_reconstruction_of_pooled_data():
  x = np.random.default_rng(0).random((3, 4, 4, 1)).astype(np.float32)
  examples = {'x': x, 'y': np.zeros(3, np.int32)}
  data = tasks.reconstruction(PooledData(examples, examples, Problem.CLASSIFICATION, 62))
  assert data.problem is Problem.RECONSTRUCTION
  for part in (data.train, data.test):
    assert part['x'].dtype == np.float32
    np.testing.assert_allclose(part['x'], 1 - x.reshape(3, 16))
    np.testing.assert_array_equal(part['y'], part['x'])


def test_centred_pixels():
  x = np.random.default_rng(0).random((3, 4, 4, 1)).astype(np.float32)
  examples = {'x': x, 'y': np.arange(3)}
  data = tasks.centred(PooledData(examples, examples, Problem.CLASSIFICATION, 10))
  for part in (data.train, data.test):
    assert part['x'].dtype == np.float32
    np.testing.assert_array_equal(part['x'], x - 0.5)
    np.testing.assert_array_equal(part['y'], np.arange(3))


def test_reconstruction_of_clients():
  x = np.random.default_rng(0).random((3, 4, 4)).astype(np.float32)
  examples = {'x': x, 'y': np.zeros(3, np.int32)}
  clients = ContiguousClients(examples, np.array([0, 1, 3]), ['a', 'b'])
  data = tasks.reconstruction(
    FederatedData(clients, examples, Problem.CLASSIFICATION, 62, test_clients=clients)
  )
  for part in (data.train, data.test_clients):
    assert list(part.ids) == ['a', 'b'] and part.sizes.tolist() == [1, 2]
    np.testing.assert_allclose(part.examples(1)['y'], 1 - x[1:].reshape(2, 16))
  assert models.ModelSpec.from_data(data).output_units == 16


def test_reading_the_tables_imports_no_tensorflow():
  program = (
    'import sys; from fl_research import tasks, models, metrics; '
    'print([m for m in ("tensorflow", "sklearn", "keras") if m in sys.modules])'
  )
  output = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
  assert output.stdout.strip() == '[]', output.stderr

"""The table of tasks."""

import importlib.util
import subprocess
import sys

import pytest

from fl_research import models, registry, tasks
from fl_research.datasets.federated_data import DatasetOptions


def test_every_task_names_things_that_exist():
  for task in tasks.TASKS.values():
    assert importlib.util.find_spec(task.module) is not None
    assert set(task.models) <= set(models.NAMES)
    # Of a user's own data the shape may decide.
    assert task.default_model in (*task.models, *[''] * bool(task.reads))
    assert len(set(task.models)) == len(task.models)


def test_every_model_has_a_task():
  assert {model for task in tasks.TASKS.values() for model in task.models} == set(models.NAMES)


def test_unknown_task_names_the_nearest():
  with pytest.raises(registry.UsageError, match=r'--task=minst: unknown \(did you mean mnist\?\)'):
    tasks.get_task('minst')


def test_every_model_of_a_task_fits_its_data():
  task = tasks.get_task('digits')
  spec = models.ModelSpec.from_data(tasks.load('digits', DatasetOptions(data_dir='none')))
  for name in task.models:
    assert models.build(name, spec, 0).weight_names


def test_reading_the_tables_imports_no_tensorflow():
  program = (
    'import sys; from fl_research import tasks, models, metrics; '
    'print([m for m in ("tensorflow", "sklearn", "keras") if m in sys.modules])'
  )
  output = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
  assert output.stdout.strip() == '[]', output.stderr


def test_imports_stay_light():
  """A data set, its partition and its passport need neither TensorFlow nor other data sets."""
  code = """
import sys
from fl_research import tasks
from fl_research.datasets import federated_data, partition, passport
data = tasks.load('digits', federated_data.DatasetOptions('nowhere'))
passport.passport(partition.partition(data, 'shards', 10, 1), data.problem)
unwanted = {'tensorflow', 'tensorflow_federated', 'jax', 'fl_research.datasets.mnist'}
print(sorted(unwanted & set(sys.modules)))
"""
  run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  assert run.stdout == '[]\n'

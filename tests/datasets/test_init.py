"""Tests of the table of data sets."""

import importlib.util
import subprocess
import sys

import pytest

from fl_research import datasets
from fl_research.datasets.federated_data import DatasetOptions
from fl_research.registry import UsageError


@pytest.mark.parametrize('name', datasets.NAMES)
def test_every_name_has_a_module(name):
  assert importlib.util.find_spec(datasets.MODULES[name]) is not None


def test_unknown_name_suggests_the_nearest():
  with pytest.raises(UsageError) as caught:
    datasets.load('shakespear', DatasetOptions('nowhere'))
  message = str(caught.value)
  assert 'did you mean shakespeare?' in message
  assert all(name in message for name in datasets.NAMES)
  assert '\n' not in message


def test_imports_stay_light():
  """A data set, its partition and its passport need neither TensorFlow nor other data sets."""
  code = """
import sys
from fl_research import datasets
from fl_research.datasets import partition, passport
data = datasets.load('digits', datasets.DatasetOptions('nowhere'))
passport.passport(partition.partition(data, 'shards', 10, 1), data.problem)
unwanted = {'tensorflow', 'tensorflow_federated', 'jax', 'fl_research.datasets.mnist'}
print(sorted(unwanted & set(sys.modules)))
"""
  run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  assert run.stdout == '[]\n'

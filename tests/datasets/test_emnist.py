"""Tests of EMNIST on a small database in TFF's format, through TFF's own loader."""

import numpy as np
import pytest

from fl_research import tasks
from fl_research.datasets import emnist, tff_bridge
from fl_research.datasets.federated_data import DatasetOptions, Problem
from fl_research.registry import UsageError
from tests.datasets import tff_database


def _example(label: int) -> dict:
  pixels = np.ones((28, 28), np.float32)
  pixels[0, 1] = label / 64
  return {'label': label, 'pixels': pixels.ravel().tolist()}


@pytest.fixture
def options(tmp_path) -> DatasetOptions:
  train = {'f2': [_example(61), _example(10)], 'f1': [_example(3)]}
  test = {'f2': [_example(36)], 'f1': [_example(4)]}
  digits = {'f1': [_example(3)]}
  tff_database.write(
    tmp_path / 'tff' / 'emnist_all.sqlite',
    {'all_train': train, 'all_test': test, 'digits_only_train': digits, 'digits_only_test': digits},
  )
  return DatasetOptions(str(tmp_path))


def test_reads_writers(options):
  data = tasks.load('emnist', options)
  assert data.problem is Problem.CLASSIFICATION
  assert data.num_classes == 62
  assert list(data.train.ids) == ['f1', 'f2']
  assert data.train.sizes.tolist() == [1, 2]
  own = data.train.examples(1)
  assert own['x'].shape == (2, 28, 28, 1)
  assert own['x'].dtype == np.float32 and own['y'].dtype == np.int32
  assert own['y'].tolist() == [61, 10]
  assert own['x'][0, 0, 1, 0] == np.float32(61 / 64)
  assert own['x'][0, 5, 5, 0] == 1
  assert data.test['y'].tolist() == [4, 36]
  assert data.test_clients.examples(0)['y'].tolist() == [4]
  assert list(data.sources) == ['emnist_all.sqlite']


def test_only_digits(options):
  data = emnist.load(options, only_digits=True)
  assert data.num_classes == 10
  assert data.train.sizes.tolist() == [1]


def test_offline(tmp_path, monkeypatch):
  monkeypatch.setattr(tff_bridge, 'URL', 'http://127.0.0.1:1/')
  with pytest.raises(UsageError, match=r'emnist_all\.sqlite: not in .*emnist_all\.sqlite\.lzma'):
    tasks.load('emnist', DatasetOptions(str(tmp_path)))

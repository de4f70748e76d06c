"""Tests of TFF's CIFAR-100 on a small database in its format, through TFF's own loader."""

import numpy as np

from fl_research import tasks
from fl_research.datasets.federated_data import DatasetOptions
from tests.datasets import tff_database


def _example(label: int) -> dict:
  image = np.zeros((32, 32, 3), np.int64)
  image[1, 2] = (255, 51, 0)
  return {'image': image.ravel().tolist(), 'label': label, 'coarse_label': label // 5}


def test_reads_clients(tmp_path):
  tff_database.write(
    tmp_path / 'tff' / 'cifar100.sqlite',
    {
      'train': {'0': [_example(99)], '1': [_example(3), _example(4)]},
      'test': {'0': [_example(5)], '1': [_example(6)]},
    },
  )
  data = tasks.load('tff_cifar100', DatasetOptions(str(tmp_path)))
  own = data.train.examples(1)
  assert own['y'].tolist() == [3, 4]
  assert own['y'].dtype == np.int32
  assert own['x'].dtype == np.float32
  np.testing.assert_allclose(own['x'][0, 1, 2], [1, 0.2, 0], rtol=1e-6)
  assert own['x'].sum() == np.float32(2.4)
  assert data.test['y'].tolist() == [5, 6]
  assert data.test_clients.sizes.tolist() == [1, 1]

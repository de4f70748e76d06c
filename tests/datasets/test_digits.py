"""Tests of the embedded digits."""

import numpy as np

from fl_research import tasks
from fl_research.datasets.federated_data import DatasetOptions


def test_split_is_fixed_and_stratified():
  data = tasks.load('digits', DatasetOptions('nowhere', seed=1))
  assert data.train['x'].shape == (1437, 8, 8, 1)
  assert data.test['x'].shape == (360, 8, 8, 1)
  assert data.train['x'].dtype == np.float32
  assert data.train['y'].dtype == np.int32
  assert (data.train['x'].min(), data.train['x'].max()) == (0, 1)
  totals = np.bincount(data.train['y']) + np.bincount(data.test['y'])
  assert totals.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
  np.testing.assert_allclose(np.bincount(data.test['y']), totals * 360 / 1797, atol=1)
  again = tasks.load('digits', DatasetOptions('nowhere', seed=2))
  np.testing.assert_array_equal(data.test['x'], again.test['x'])
  assert list(data.sources) == ['digits.csv.gz']


def test_train_and_test_share_no_image():
  data = tasks.load('digits', DatasetOptions('nowhere'))
  train = {image.tobytes() for image in data.train['x']}
  assert len(train) == 1437
  assert not train & {image.tobytes() for image in data.test['x']}

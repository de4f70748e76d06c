"""Tests of FedProx's IID synthetic set, against numbers of the authors' generator, seeded."""

import numpy as np
import pytest

from fl_research import tasks
from fl_research.datasets.federated_data import DatasetOptions


@pytest.mark.parametrize(
  ('seed', 'sum_of_x', 'labels'),
  [
    (0, -24.096, [272, 965, 2575, 3473, 387, 1268, 729, 3468, 3124, 3840]),
    (7, -56.284, [333, 687, 1938, 684, 1838, 72, 366, 354, 1150, 1479]),
  ],
)
def test_equals_the_authors_generator(seed, sum_of_x, labels):
  data = tasks.load('synthetic_iid', DatasetOptions('nowhere', seed=seed))
  train = data.train.pooled()
  assert np.bincount(train['y'], minlength=10).tolist() == labels
  assert train['x'].sum(dtype=np.float64) == pytest.approx(sum_of_x, abs=0.01)
  assert len(data.train) == 30


def test_one_linear_model_fits_all_clients():
  data = tasks.load('synthetic_iid', DatasetOptions('nowhere', seed=7))
  train = data.train.pooled()
  design = np.column_stack([train['x'], np.ones(len(train['y']))])
  weights = np.linalg.lstsq(design, np.eye(10)[train['y']], rcond=None)[0]
  test = np.column_stack([data.test['x'], np.ones(len(data.test['y']))]) @ weights
  assert np.mean(np.argmax(test, axis=1) == data.test['y']) > 0.6

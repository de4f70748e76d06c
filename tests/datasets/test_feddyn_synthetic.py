"""Tests of FedDyn's synthetic data, against numbers of the authors' generator, seeded."""

import numpy as np
import pytest

from fl_research import tasks
from fl_research.datasets.federated_data import DatasetOptions
from fl_research.registry import UsageError


def _load(**options):
  return tasks.load('feddyn_synthetic', DatasetOptions('', **{'num_clients': 20, **options}))


@pytest.mark.parametrize(
  ('seed', 'alpha', 'beta', 'sum_of_x', 'labels'),
  [
    (0, 0.0, 0.0, 92.170, [1137, 772, 658, 1303, 130]),
    (7, 1.0, 1.0, 4158.634, [1033, 1228, 713, 477, 549]),
    (3, 1.0, 0.0, -98.583, [770, 912, 848, 806, 664]),
    (3, 0.0, 1.0, -34672.946, [588, 1102, 545, 1454, 311]),
  ],
)
def test_equals_the_authors_generator(seed, alpha, beta, sum_of_x, labels):
  data = _load(seed=seed, alpha=alpha, beta=beta)
  train = data.train.pooled()
  assert train['x'].sum(dtype=np.float64) == pytest.approx(sum_of_x, abs=0.01)
  assert np.bincount(train['y']).tolist() == labels
  assert data.train.sizes.tolist() == [200] * 20


def test_is_tested_on_what_it_trains_on():
  data = _load(seed=1, alpha=1.0)
  np.testing.assert_array_equal(data.test['x'], data.train.pooled()['x'])
  for position in (0, 19):
    np.testing.assert_array_equal(
      data.test_clients.examples(position)['y'], data.train.examples(position)['y']
    )


@pytest.mark.parametrize(
  ('option', 'flag'),
  [
    ({'alpha': -1.0}, '--synthetic_alpha=-1.0'),
    ({'beta': np.inf}, '--synthetic_beta=inf'),
    ({'num_clients': 0}, '--num_clients=0'),
  ],
)
def test_bad_options(option, flag):
  with pytest.raises(UsageError, match=flag):
    _load(**option)

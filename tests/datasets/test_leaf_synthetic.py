"""Tests of LEAF's synthetic data, against numbers of LEAF's own generator."""

import numpy as np
import pytest

from fl_research import tasks
from fl_research.datasets import leaf_synthetic
from fl_research.datasets.federated_data import DatasetOptions
from fl_research.registry import UsageError


@pytest.mark.parametrize(
  ('seed', 'total', 'labels', 'first_sum', 'sizes'),
  [
    (931231, 23807, [1860, 7527, 5393, 6283, 2744], -598.9097492587442, [86, 33, 52, 6]),
    (3, 18857, [3719, 4844, 3377, 2941, 3976], 18747.08316183397, [723, 53, 29, 5]),
  ],
)
def test_equals_leafs_generator(seed, total, labels, first_sum, sizes):
  clients = leaf_synthetic.generate(200, seed)
  y = np.concatenate([y for _, y in clients])
  assert len(y) == total
  assert np.bincount(y).tolist() == labels
  assert clients[0][0].sum() == pytest.approx(first_sum, rel=1e-9)
  assert [len(y) for _, y in clients[:4]] == sizes


def test_split_keeps_every_example():
  seed = 3
  data = tasks.load('leaf_synthetic', DatasetOptions('nowhere', seed=seed, num_clients=200))
  assert data.num_classes == 5
  for position, (x, y) in enumerate(leaf_synthetic.generate(200, seed)):
    train, test = data.train.examples(position), data.test_clients.examples(position)
    assert len(train['y']) == int(0.9 * len(y))
    both = np.concatenate([train['x'], test['x']])
    np.testing.assert_array_equal(np.sort(both[:, 0]), np.sort(x[:, 0].astype(np.float32)))
  assert data.train.sizes.max() == 900
  assert data.train.sizes.min() == 4
  assert len(data.test['y']) == data.test_clients.sizes.sum()


def test_split_depends_on_the_seed_only():
  loads = [tasks.load('leaf_synthetic', DatasetOptions('', seed=s)) for s in (1, 1, 2)]
  first, same, other = (data.train.pooled()['x'] for data in loads)
  np.testing.assert_array_equal(first, same)
  assert first.shape != other.shape or not np.array_equal(first, other)


def test_bad_number_of_clients():
  with pytest.raises(UsageError, match='--num_clients=0'):
    tasks.load('leaf_synthetic', DatasetOptions('nowhere', num_clients=0))

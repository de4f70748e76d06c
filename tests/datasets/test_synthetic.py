"""Tests of Synthetic(alpha, beta): the numbers are those of the authors' generator, seeded."""

import numpy as np
import pytest

from fl_research import tasks
from fl_research.datasets.federated_data import DatasetOptions
from fl_research.registry import UsageError


def _load(alpha=0.0, beta=0.0, seed=0, **others):
  return tasks.load(
    'synthetic', DatasetOptions('nowhere', seed=seed, alpha=alpha, beta=beta, **others)
  )


# What the authors' script writes after numpy.random.seed(s); random.seed(s): sum of x and labels
# of the training part.
@pytest.mark.parametrize(
  ('heterogeneity', 'seed', 'sum_of_x', 'labels'),
  [
    (0.0, 0, -18920.748, [1102, 948, 889, 6194, 877, 1655, 5646, 1416, 974, 400]),
    (0.5, 0, -104380.322, [1252, 680, 1578, 5255, 749, 6460, 2662, 737, 318, 410]),
    (0.5, 7, -84044.421, [581, 1271, 2140, 2722, 479, 276, 175, 365, 234, 658]),
    (1.0, 7, -133287.413, [409, 1104, 3102, 2225, 371, 320, 216, 357, 196, 601]),
  ],
)
def test_equals_the_authors_generator(heterogeneity, seed, sum_of_x, labels):
  data = _load(heterogeneity, heterogeneity, seed)
  train = data.train.pooled()
  assert np.bincount(train['y'], minlength=10).tolist() == labels
  assert train['x'].sum(dtype=np.float64) == pytest.approx(sum_of_x, abs=0.01)


def test_sizes_and_split():
  data = _load()
  assert len(data.train) == 30
  assert data.train.sizes[:3].tolist() == [1718, 153, 392]
  totals = data.train.sizes + data.test_clients.sizes
  assert totals.min() >= 50
  np.testing.assert_array_equal(data.train.sizes, (0.9 * totals).astype(int))
  assert data.train.ids[29] == 'f_00029'
  assert len(data.test['y']) == 2248
  assert data.train.examples(3)['x'].shape == (data.train.sizes[3], 60)
  assert data.train.examples(3)['x'].dtype == np.float32


def test_variance_of_features_decays():
  x = _load(num_clients=1).train.pooled()['x']
  np.testing.assert_allclose(x.var(axis=0), np.arange(1, 61) ** -1.2, rtol=0.25)


def test_alpha_and_beta_make_clients_differ():
  alike, differing = (_load(strength, strength) for strength in (0.0, 2.0))
  centres = [
    np.std([data.train.examples(k)['x'].mean() for k in range(30)]) for data in (alike, differing)
  ]
  assert centres[1] > 5 * centres[0]


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'alpha': -1.0}, '--synthetic_alpha=-1.0: accepted is a number of at least 0'),
    ({'beta': float('nan')}, '--synthetic_beta=nan: accepted is a number of at least 0'),
    ({'num_clients': 0}, '--num_clients=0: accepted is an integer of at least 1'),
    ({'num_clients': 100_000}, '--num_clients=100000: .* do not fit in memory'),
  ],
)
def test_bad_parameters(options, message):
  with pytest.raises(UsageError, match=message):
    _load(**options)

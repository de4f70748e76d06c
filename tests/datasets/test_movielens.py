import zipfile

import numpy as np
import pytest

from fl_research.datasets import movielens
from fl_research.datasets.federated_data import DatasetOptions, Problem
from tests.datasets import dataset_checks as checks

RATINGS = 'userId,movieId,rating,timestamp\n' + ''.join(
  f'{user},{film},{rating},964982703\n'
  for user, film, rating in [(7, 30, 4.0), (7, 5, 0.5), (9, 30, 3.5), (9, 900, 5.0), (9, 5, 2.0)]
)


@pytest.fixture
def archive(tmp_path, monkeypatch):
  """Writes the archive with the given ratings and returns the options that read it."""
  (tmp_path / 'movielens').mkdir()
  monkeypatch.setattr(movielens, '_SHA256', ())

  def write(ratings: str, member='ml-latest-small/ratings.csv') -> DatasetOptions:
    with zipfile.ZipFile(tmp_path / 'movielens' / 'ml-latest-small.zip', 'w') as stream:
      stream.writestr(member, ratings)
    return DatasetOptions(data_dir=str(tmp_path))

  return write


def test_the_published_ratings():
  data = movielens.load(checks.published('movielens', 'ml-latest-small.zip'))
  checks.assert_form(data, [2], np.int32, [], np.float32)
  assert (data.problem, data.num_classes) == (Problem.REGRESSION, 1)
  assert data.vocabulary_size == (610, 9_724)
  sizes = data.train.sizes + data.test_clients.sizes
  assert (len(sizes), sizes.sum(), sizes.min(), sizes.max()) == (610, 100_836, 20, 2_698)
  assert np.all(np.abs(data.test_clients.sizes / sizes - 0.2) <= 0.5 / sizes + 1e-9)
  for clients in (data.train, data.test_clients):
    pool = clients.pooled()
    np.testing.assert_array_equal(pool['x'][:, 0], np.repeat(np.arange(610), clients.sizes))
    assert set(np.unique(pool['y'])) == {half / 2 for half in range(1, 11)}
  films = np.concatenate([data.train.pooled()['x'][:, 1], data.test['x'][:, 1]])
  np.testing.assert_array_equal(np.unique(films), np.arange(9_724))


def test_users_and_films_are_numbered_in_order_of_their_ids(archive):
  data = movielens.load(archive(RATINGS))
  assert list(data.train.ids) == ['user_7', 'user_9']
  assert data.vocabulary_size == (2, 3)
  rows = np.concatenate([data.train.pooled()['x'], data.test['x']]).tolist()
  stars = np.concatenate([data.train.pooled()['y'], data.test['y']]).tolist()
  assert sorted(zip(map(tuple, rows), stars)) == [
    ((0, 0), 0.5),
    ((0, 1), 4.0),
    ((1, 0), 2.0),
    ((1, 1), 3.5),
    ((1, 2), 5.0),
  ]
  assert data.test_clients.sizes.tolist() == [1, 1]


@pytest.mark.parametrize(
  'ratings, member',
  [
    (RATINGS, 'ratings.csv'),
    (RATINGS.replace('rating,', 'stars,'), 'ml-latest-small/ratings.csv'),
    (RATINGS.replace('0.5', 'bad'), 'ml-latest-small/ratings.csv'),
    ('', 'ml-latest-small/ratings.csv'),
  ],
)
def test_malformed_archives(archive, ratings, member):
  with checks.one_line_error('ml-latest-small.zip', 'no readable table'):
    movielens.load(archive(ratings, member))


def test_an_archive_cut_short(archive, tmp_path):
  options = archive(RATINGS)
  path = tmp_path / 'movielens' / 'ml-latest-small.zip'
  path.write_bytes(path.read_bytes()[:-30])
  with checks.one_line_error('ml-latest-small.zip', 'truncated'):
    movielens.load(options)

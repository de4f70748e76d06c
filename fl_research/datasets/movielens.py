"""MovieLens latest-small: which stars will a user give a film? 610 users, 610 clients.

Harper and Konstan, "The MovieLens Datasets: History and Context" (ACM TiiS, 2015), file
ml-latest-small.zip of 2018: 100,836 ratings of 0.5 to 5 stars, 20 to 2,698 per user, of 9,724
films.

An example is a rating: x int32 [2] = (user, film), both numbered from 0 in the order of the
published ids, y float32 [] = stars. Only the user's own index occurs at a client, so a factor of
that user need never leave it.

Split: a fifth of each user's ratings (at least one), drawn from the seed, is that user's test part.
A film may have test ratings only, and a model then knows nothing of it.
"""

import zipfile

import numpy as np
import pandas as pd

from fl_research import random_streams
from fl_research.datasets import files
from fl_research.datasets.federated_data import (
  DatasetOptions,
  FederatedData,
  InputColumn,
  Problem,
)
from fl_research.datasets.splits import clients_by_owner, held_out_rows
from fl_research.registry import UsageError

_FOLDER, _FILE = 'movielens', 'ml-latest-small.zip'
_URL = 'https://files.grouplens.org/datasets/movielens/ml-latest-small.zip'
_SHA256 = '696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436'
_MEMBER = 'ml-latest-small/ratings.csv'
_COLUMNS = {'userId': np.int64, 'movieId': np.int64, 'rating': np.float32}


def load(options: DatasetOptions) -> FederatedData:
  """Reads the ratings by user; reads `options.data_dir` and `options.seed`.

  Raises:
    UsageError: the file is missing, damaged, or not in the published format.
  """
  path = files.fetch(options.data_dir, _FOLDER, _FILE, _URL, _SHA256)
  ratings = _read(path)
  users, user = np.unique(ratings['userId'], return_inverse=True)
  films, film = np.unique(ratings['movieId'], return_inverse=True)
  x = np.stack([user, film], axis=1).astype(np.int32)
  y = ratings['rating'].to_numpy(np.float32)
  test_rows = held_out_rows(user, random_streams.generator(options.seed, 'movielens split'))
  ids = [f'user_{number}' for number in users]
  train, test = (
    clients_by_owner({'x': x[rows], 'y': y[rows]}, user[rows], ids)
    for rows in (~test_rows, test_rows)
  )
  return FederatedData(
    train=train,
    test=test.pooled(),
    problem=Problem.REGRESSION,
    num_classes=1,
    test_clients=test,
    sources={_FILE: files.sha256_of(path)},
    vocabulary_size=(len(users), len(films)),
    inputs=(
      InputColumn('user', 0, 1, vocabulary=len(users)),
      InputColumn('film', 1, 2, vocabulary=len(films)),
    ),
  )


def _read(path) -> pd.DataFrame:
  with files.reading(path), zipfile.ZipFile(path) as archive:
    try:
      with archive.open(_MEMBER) as stream:
        return pd.read_csv(stream, usecols=list(_COLUMNS), dtype=_COLUMNS)
    except (KeyError, ValueError) as error:
      raise UsageError(
        f'{path}: no readable table {_MEMBER} in it ({files.one_line(error)})'
      ) from error

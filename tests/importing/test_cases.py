"""Small inputs of the kinds people bring, in ../shared/cases: read right, and learnt.

What a right reading reaches is in their README.
"""

import pathlib

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from fl_research.datasets.federated_data import DatasetOptions
from fl_research.importing import tabular

_CASES = pathlib.Path(__file__).resolve().parents[3] / 'shared' / 'cases'


def _read(name, **options):
  path = _CASES / name
  if not path.exists():
    pytest.skip(f'there is no {name} in ../shared/cases')
  return tabular.load(DatasetOptions('', data_file=str(path), **options))


def _fit(model, data):
  train = data.train.pooled()
  return model.fit(train['x'], train['y'])


def test_farms():
  data = _read('farms', label_column='yield_kg_ha')
  assert list(data.train.ids) == ['coast', 'hill', 'north', 'river', 'valley']
  rest = _fit(Ridge(), data).predict(data.test['x']) - data.test['y']
  assert np.sqrt(np.mean(rest**2)) < 135


def test_kliniken():
  data = _read('kliniken.csv', client_column='Klinik', label_column='Befund')
  assert data.class_names == ('auffällig', 'fraglich', 'unauffällig') and len(data.train) == 3
  assert 'Süd' in data.train.ids
  assert _fit(LogisticRegression(), data).score(data.test['x'], data.test['y']) > 0.93


def test_ratings():
  data = _read('ratings.csv', client_column='userId', label_column='rating')
  assert [(c.name, c.vocabulary) for c in data.inputs] == [
    ('userId', 41), ('movieId', 81), ('timestamp', None),
  ]  # fmt: skip


def test_apart():
  data = _read('apart')
  assert list(data.train.ids) == [f'client_{k}' for k in range(1, 5)]
  assert _fit(LogisticRegression(), data).score(data.test['x'], data.test['y']) > 0.85

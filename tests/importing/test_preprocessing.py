"""Preprocessing is data: fitted to training rows, exactly the same after JSON."""

import json

import numpy as np
import pandas as pd
import pytest

from fl_research.datasets.federated_data import DatasetOptions
from fl_research.importing import encoders
from fl_research.importing.preprocessing import Preprocessing
from fl_research.importing.table_source import TableSource
from fl_research.registry import UsageError
from tests.datasets import dataset_checks as checks

N = 120


def _table() -> pd.DataFrame:
  rng = np.random.default_rng(0)
  return pd.DataFrame(
    {
      'shop': rng.choice(['s1', 's2', 's3'], N),
      'price': rng.normal(20, 5, N).round(2),
      'kind': rng.choice(['a', 'b', 'c', None], N),
      'smokes': rng.choice([True, False], N),
      'signs': rng.choice(['x|y', 'y', 'x|z', 'z'], N),
      'day': pd.Timestamp('2026-01-01') + pd.to_timedelta(rng.integers(0, 300, N), 'D'),
      'itemId': rng.integers(100, 120, N),
      'zip': rng.choice(['007', 'A1', 'B7'], N),
      'bought': rng.choice(['no', 'yes'], N),
    }
  )


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  path = tmp_path_factory.mktemp('shops') / 'shops.csv'
  _table().to_csv(path, index=False)
  return TableSource(
    DatasetOptions('', data_file=str(path), client_column='shop', label_column='bought')
  )


def _exactly_equal(a, b):
  assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_after_json_it_does_exactly_the_same(source):
  again = Preprocessing.from_data(json.loads(json.dumps(source.preprocessing)))
  table = _table()
  _exactly_equal(again.transform(table), source.fitted.transform(table))
  _exactly_equal(again.labels(table), source.fitted.labels(table))
  assert again.inputs == source.fitted.inputs == source.spec.inputs
  assert again.to_data() == source.preprocessing


def test_new_rows_become_what_the_files_rows_became(source):
  """Of whatever types, in any order of columns, and without labels."""
  rows = _table()
  x = source.fitted.transform(rows)
  _exactly_equal(source.fitted.transform(rows.astype(object)[rows.columns[::-1]]), x)
  text = rows.astype({'price': str, 'itemId': str, 'day': str}).drop(columns='bought')
  _exactly_equal(source.fitted.transform(text), x)
  _exactly_equal(source.fitted.transform(rows.iloc[5:7]), x[5:7])
  gathered = np.concatenate([part.examples['x'] for part in source.parts()])
  assert sorted(map(bytes, gathered)) == sorted(map(bytes, x))


def test_positions_have_their_columns_names(source):
  widths = {c.name: (c.stop - c.start, c.vocabulary) for c in source.spec.inputs}
  assert widths == {
    'shop': (1, 4),
    'price': (1, None),
    'kind': (3, None),
    'smokes': (2, None),
    'signs': (3, None),
    'day': (3, None),
    'itemId': (1, 21),
    'zip': (3, None),
  }
  assert source.fitted.texts == ['shop', 'kind', 'signs', 'day', 'zip']


def test_what_is_unseen_or_missing(source):
  rows = pd.concat([_table().iloc[:1]] * 2, ignore_index=True)
  rows = rows.astype(object)
  rows.loc[0, ['kind', 'signs', 'itemId', 'zip']] = ['new', 'new|x', 999, 'new']
  rows.loc[1, ['price', 'kind', 'signs', 'day', 'itemId']] = None
  x = source.fitted.transform(rows)
  at = {c.name: slice(c.start, c.stop) for c in source.spec.inputs}
  assert x[0, at['kind']].tolist() == [0, 0, 0] and x[0, at['zip']].tolist() == [0, 0, 0]
  assert x[0, at['signs']].tolist() == [1, 0, 0] and x[0, at['itemId']].tolist() == [0]
  assert x[1, at['price']].tolist() == [0] and x[1, at['day']].tolist() == [0, 0, 0]
  assert x[1, at['kind']].sum() == 1 and x[1, at['signs']].sum() == 0
  assert x[1, at['itemId']].tolist() == [0]


@pytest.mark.parametrize(
  'column, value, parts',
  [
    ('price', 'dear', ["column price: row 2 holds 'dear', no number"]),
    ('price', np.inf, ['column price: row 2 holds']),
    ('day', 'soon', ["column day: row 2 holds 'soon', no date"]),
  ],
)
def test_cells_of_another_kind(source, column, value, parts):
  rows = _table().astype(object)
  rows.loc[1, column] = value
  with checks.one_line_error(*parts):
    source.fitted.transform(rows)


def test_missing_columns(source):
  with checks.one_line_error('there is no column price (did you mean prize?)'):
    source.fitted.transform(_table().rename(columns={'price': 'prize'}))
  with checks.one_line_error('is that of no table'):
    Preprocessing.from_data({'form': 'images'})


def test_more_ids_than_can_be(monkeypatch):
  monkeypatch.setattr(encoders, 'MAX_IDENTIFIERS', 3)
  encoder = encoders.Identifier('itemId', 'number')
  with pytest.raises(UsageError, match='more than 3 ids; say --columns=itemId:ignore'):
    encoder.fit(pd.Series(range(4)), np.zeros(4))

import datetime
import os

import numpy as np
import pandas as pd
import pytest

from fl_research.datasets.federated_data import DatasetOptions, Problem
from fl_research.importing import roles, tabular
from fl_research.registry import UsageError
from tests.datasets import dataset_checks as checks

ROWS = 60


def patients() -> pd.DataFrame:
  """Three hospitals of 30, 20 and 10 patients with every kind of feature."""
  rng = np.random.default_rng(0)
  return pd.DataFrame(
    {
      'hospital': np.repeat(['north', 'south', 'west'], [30, 20, 10]),
      'age': rng.integers(20, 90, ROWS),
      'pressure': rng.normal(120, 15, ROWS).round(1),
      'ward': rng.choice(['a', 'b', 'c'], ROWS),
      'smokes': rng.choice([True, False], ROWS),
      'sick': rng.integers(0, 2, ROWS),
    }
  )


@pytest.fixture
def options(tmp_path):
  """Writes a table and returns the options to load it with."""

  def write(table=None, content=None, suffix='.csv', **changes) -> DatasetOptions:
    path = tmp_path / f'patients{suffix}'
    if content is not None:
      path.write_bytes(content)
    elif suffix == '.parquet':
      table.to_parquet(path)
    else:
      (patients() if table is None else table).to_csv(path, index=False)
    columns = {'client_column': 'hospital', 'label_column': 'sick', **changes}
    return DatasetOptions(**{'data_dir': str(tmp_path), 'data_file': str(path), **columns})

  return write


@pytest.mark.parametrize('suffix', ['.csv', '.csv.gz', '.parquet'])
def test_clients_features_and_split(options, suffix):
  data = tabular.load(options(patients(), suffix=suffix))
  checks.assert_form(data, [7], np.float32, [], np.int32)
  assert (data.problem, data.num_classes) == (Problem.BINARY, 2)
  assert list(data.train.ids) == list(data.test_clients.ids) == ['north', 'south', 'west']
  assert data.train.sizes.tolist() == [24, 16, 8]
  assert data.test_clients.sizes.tolist() == [6, 4, 2]
  x = data.train.pooled()['x']
  np.testing.assert_allclose(x[:, :2].mean(axis=0), 0, atol=1e-6)
  np.testing.assert_allclose(x[:, :2].std(axis=0), 1, atol=1e-6)
  np.testing.assert_array_equal(x[:, 2:5].sum(axis=1), 1)
  np.testing.assert_array_equal(x[:, 5:].sum(axis=1), 1)
  assert list(data.sources) == [f'patients{suffix}']


def test_rows_keep_their_label_and_features(options):
  table = patients()
  data = tabular.load(options(table))
  for k, hospital in enumerate(data.train.ids):
    rows = table[table['hospital'] == hospital]
    parts = [data.train.examples(k), data.test_clients.examples(k)]
    # Ages are told apart by their order, which standardising keeps.
    found = sorted((x[0], x[2:5].tolist(), y) for p in parts for x, y in zip(p['x'], p['y']))
    wards = [[float(ward == name) for name in 'abc'] for ward in rows['ward']]
    stated = sorted(zip(rows['age'], wards, rows['sick']))
    assert [row[1:] for row in found] == [row[1:] for row in stated]


def test_the_seed_decides_the_split(options):
  load = lambda seed: tabular.load(options(seed=seed)).test['x']
  np.testing.assert_array_equal(load(1), load(1))
  assert not np.array_equal(load(1), load(2))


def test_missing_values_are_imputed_from_training_rows(options):
  table = patients()
  table.loc[5:50:7, 'pressure'] = np.nan
  table.loc[3:40:9, 'ward'] = None
  table['smokes'] = table['smokes'].astype(object).where(table.index % 11 > 0)
  first = tabular.load(options(table))
  pool = np.concatenate([first.train.pooled()['x'], first.test['x']])
  assert np.isfinite(pool).all()
  np.testing.assert_array_equal(pool[:, 2:5].sum(axis=1), 1)
  np.testing.assert_array_equal(pool[:, 5:].sum(axis=1), 1)


def test_test_rows_do_not_enter_the_statistics(options):
  before = tabular.load(options())
  unmoved = 0
  for row in range(ROWS):
    table = patients()
    table.loc[row, 'pressure'] = 1e6
    after = tabular.load(options(table))
    unmoved += np.array_equal(before.train.pooled()['x'], after.train.pooled()['x'])
  assert unmoved == len(before.test['y']) == 12


@pytest.mark.parametrize(
  'labels, problem, classes, kept',
  [
    (['no', 'yes'] * 30, Problem.BINARY, 2, [0, 1]),
    ([False, True] * 30, Problem.BINARY, 2, [0, 1]),
    ([5.5, -2.0] * 30, Problem.BINARY, 2, [1, 0]),
    (['x', 'z', 'y'] * 20, Problem.CLASSIFICATION, 3, [0, 2, 1]),
    ([7, 3, 12] * 20, Problem.CLASSIFICATION, 3, [1, 0, 2]),
    ([1.0, 2.0, 3.0] * 20, Problem.CLASSIFICATION, 3, [0, 1, 2]),
    (list(range(20)) * 3, Problem.CLASSIFICATION, 20, [0, 1, 2]),
    ([*range(21), *range(39)], Problem.REGRESSION, 1, [0, 1, 2]),
    ([0.5, 1.5, 2.5] * 20, Problem.REGRESSION, 1, [0.5, 1.5, 2.5]),
  ],
)
def test_what_is_predicted_follows_from_the_labels(options, labels, problem, classes, kept):
  table = patients().assign(sick=labels, age=np.arange(ROWS))
  data = tabular.load(options(table))
  assert (data.problem, data.num_classes) == (problem, classes)
  expected_type = np.float32 if problem is Problem.REGRESSION else np.int32
  assert data.test['y'].dtype == data.train.pooled()['y'].dtype == expected_type
  pool = {key: np.concatenate([data.train.pooled()[key], data.test[key]]) for key in 'xy'}
  by_age = pool['y'][np.argsort(pool['x'][:, 0])]
  assert by_age[: len(kept)].tolist() == kept


def test_a_client_of_one_row_only_trains(options):
  table = patients()
  table['hospital'] = [1] * 50 + list(range(2, 12))
  data = tabular.load(options(table))
  assert list(data.train.ids) == [str(k) for k in range(1, 12)]
  assert list(data.test_clients.ids) == ['1']
  assert data.train.sizes.tolist() == [40] + [1] * 10


def test_columns_that_tell_nothing_are_left_out_and_named(options, capsys):
  table = patients().assign(country='PL', empty=np.nan)
  data = tabular.load(options(table))
  assert data.train.examples(0)['x'].shape[1] == 7
  said = capsys.readouterr().err.splitlines()
  assert 'left out: country (has one value), empty (has no values)' in said


def test_types_that_only_parquet_has(options):
  table = patients().astype({'age': 'Int64', 'sick': 'Int64', 'ward': 'category'})
  table.loc[3, 'age'] = pd.NA
  data = tabular.load(options(table, suffix='.parquet'))
  checks.assert_form(data, [7], np.float32, [], np.int32)


def test_a_hundred_thousand_clients(options, tmp_path):
  clients = np.arange(200_000) % 100_000
  table = pd.DataFrame({'hospital': clients, 'age': np.arange(200_000) % 83, 'sick': clients % 2})
  data = tabular.load(options(table, suffix='.parquet'))
  assert len(data.train) == len(data.test_clients) == 100_000
  assert data.train.examples(99_999)['y'].tolist() == [1]


CHANGES = {
  'no label flag': ({'label_column': None}, ['--label_column is missing']),
  'no client flag': ({'client_column': None}, ['--client_column is missing', '--partition=iid']),
  'no file flag': ({'data_file': None}, ['--data_file is missing']),
  'label typo': ({'label_column': 'sik'}, ['--label_column=sik', 'did you mean sick?', 'ward']),
  'client typo': ({'client_column': 'Hospital'}, ['--client_column=Hospital', 'hospital?']),
  'far label': ({'label_column': 'qqq'}, ['no such column;', 'hospital, age, pressure, ward']),
  'same column': ({'label_column': 'hospital'}, ['--label_column=hospital', '--client_column']),
  'no file': ({'data_file': 'absent.csv'}, ['--data_file=absent.csv', 'no such file']),
  'a folder': ({'data_file': os.sep}, [f'--data_file={os.sep}', 'is a folder without tables']),
}


@pytest.mark.parametrize('case', CHANGES)
def test_wrong_flags(options, case):
  changes, parts = CHANGES[case]
  with checks.one_line_error(*parts):
    tabular.load(options(**changes))


@pytest.mark.parametrize('suffix', ['.csv.gz', '.parquet'])
def test_damaged_bytes_never_end_in_anything_but_one_line(options, tmp_path, suffix):
  settings = options(patients(), suffix=suffix)
  path = tmp_path / f'patients{suffix}'
  sound = path.read_bytes()
  rng = np.random.default_rng(0)
  refused = 0
  for _ in range(60):
    damaged = bytearray(sound)
    damaged[rng.integers(len(sound))] ^= int(rng.integers(1, 256))
    path.write_bytes(damaged)
    try:
      tabular.load(settings)
    except UsageError as error:
      refused += 1
      assert len(str(error).splitlines()) == 1
  assert refused > 20


def with_value(column, row, value) -> pd.DataFrame:
  table = patients().astype({column: object})
  table.loc[row, column] = value
  return table


TABLES = {
  'labels missing': (
    with_value('sick', range(7, 60), None),
    ['53 of 60 rows', 'no label', 'row 8'],
  ),
  'client missing': (with_value('hospital', 4, None), ['1 of 60 rows', 'no client', 'row 5']),
  'one label': (patients().assign(sick=1), ['--label_column=sick', 'the same label']),
  'stray text': (with_value('age', 17, 'abc'), ['column age', 'row 18', "'abc'"]),
  'stray label': (with_value('sick', 17, 'x\ny'), ['column sick', 'row 18']),
  'infinite feature': (with_value('age', 3, np.inf), ['column age', 'row 4', 'float32']),
  'infinite label': (with_value('sick', 3, -np.inf), ['--label_column=sick', 'row 4']),
  'huge label': (with_value('sick', 3, 1e300), ['--label_column=sick', 'row 4']),
  'label is an id': (patients().assign(sick=[f'p{k}' for k in range(ROWS)]), ['60 different']),
  'no features': (patients()[['hospital', 'sick']], ['no column besides']),
  'no useful features': (patients()[['hospital', 'sick']].assign(a=1), ['no column besides']),
  'one row each': (patients().assign(hospital=range(ROWS)), ['--client_column=hospital', 'single']),
}


@pytest.mark.parametrize('case', TABLES)
def test_unusable_tables(options, case):
  table, parts = TABLES[case]
  with checks.one_line_error(*parts):
    tabular.load(options(table))


def test_more_texts_than_categories_are_ids(options):
  names = [f'n{k}' for k in range(roles.MAX_CATEGORIES)] * 3
  table = pd.DataFrame({'hospital': 'a', 'name': names, 'sick': [0, 1] * 150})
  assert tabular.load(options(table)).inputs[0].vocabulary is None
  table.loc[:2, 'name'] = 'one more'
  (column,) = tabular.load(options(table)).inputs
  assert (column.start, column.stop) == (0, 1) and column.vocabulary > 80


def test_dates_and_lists_of_parquet(options):
  dates = [datetime.datetime(2020, 1, 1 + k % 28) for k in range(ROWS)]
  lists = [['a', 'b'][: k % 3] for k in range(ROWS)]
  data = tabular.load(options(patients().assign(when=dates, has=lists), suffix='.parquet'))
  widths = {column.name: column.stop - column.start for column in data.inputs}
  assert (widths['when'], widths['has']) == (3, 2)


def test_parquet_columns_that_are_nothing_that_can_be_used(options):
  table = patients().assign(raw=[b'abc'] * ROWS)
  with checks.one_line_error('column raw', 'neither numbers', '--columns=raw:ignore'):
    tabular.load(options(table, suffix='.parquet'))
  assert tabular.load(options(table, suffix='.parquet', columns='raw:ignore')).inputs


def test_parquet_columns_of_one_name_cannot_hide(options):
  table = patients().rename(columns={'pressure': ' age'})
  with checks.one_line_error('several columns are named age'):
    tabular.load(options(table, suffix='.parquet'))

"""Files and folders of tables, read as examples by client."""

import numpy as np
import pandas as pd
import pytest

from fl_research.datasets.federated_data import DatasetOptions, PooledData, Problem
from fl_research.importing import memory, table_files, table_rows, tabular
from fl_research.importing.table_source import TableSource
from tests.datasets import dataset_checks as checks

SITES = {'coast': 30, 'hill': 20, 'north': 10}


def _farm(site, rows, seed=0) -> pd.DataFrame:
  rng = np.random.default_rng((seed, rows))
  rain = rng.normal(400, 50, rows).round(1)
  return pd.DataFrame(
    {
      'plot_id': [f'{site[:2]}-{k:04}' for k in range(rows)],
      'sown': pd.date_range('2026-03-01', periods=rows).strftime('%Y-%m-%d'),
      'rain': rain,
      'soil': np.where(rng.random(rows) < 0.5, 'clay', 'peat' if site == 'hill' else 'loam'),
      'yield': (2000 + 3 * rain).round(1),
    }
  )


_TOLD = (
  'column rain alone tells yield: if it is known afterwards only, or names what comes again, say '
  '--columns=rain:ignore'
)


@pytest.fixture
def farms(tmp_path):
  for site, rows in SITES.items():
    _farm(site, rows).to_csv(tmp_path / f'{site}.csv', index=False)
  return tmp_path


def _open(path, **options) -> TableSource:
  return TableSource(DatasetOptions('', data_file=str(path), **options))


def _roles(source):
  return {column.name: column.role for column in source.found.columns}


def test_a_file_a_client(farms):
  source = _open(farms, label_column='yield')
  assert list(source.counts.ids) == list(SITES)
  assert source.counts.train.tolist() == [24, 16, 8] and source.counts.test.tolist() == [6, 4, 2]
  assert list(_roles(source).values()) == ['ignored', 'date', 'number', 'category', 'label']
  assert source.found.clients == 'a file each' and source.found.form.startswith('3 files, CSV')
  assert set(source.files) == {f'{site}.csv' for site in SITES}
  assert source.found.notes == [
    _TOLD,
    "column soil: 'peat' is at client hill only: it gives its client away",
  ]
  data = memory.read(source)
  checks.assert_form(data, [3 + 1 + 3], np.float32, [], np.float32)
  assert data.problem is Problem.REGRESSION
  assert data.train.pooled()['y'].mean() == pytest.approx(float(data.label_scale.mean), rel=1e-6)
  assert data.train.pooled()['y'].std() == pytest.approx(
    float(data.label_scale.deviation), rel=1e-5
  )
  y = np.sort(np.concatenate([data.train.examples(1)['y'], data.test_clients.examples(1)['y']]))
  np.testing.assert_array_equal(y, np.sort(_farm('hill', 20)['yield'].astype(np.float32)))


def test_columns_in_another_order(farms):
  before = memory.read(_open(farms, label_column='yield'))
  hill = _farm('hill', 20)
  hill[hill.columns[::-1]].to_csv(farms / 'hill.csv', index=False, sep=';', decimal=',')
  after = memory.read(_open(farms, label_column='yield'))
  np.testing.assert_array_equal(before.train.pooled()['x'], after.train.pooled()['x'])


@pytest.mark.parametrize('suffix', ['csv', 'parquet'])
def test_chunks_of_any_size_give_the_same(farms, tmp_path, suffix, monkeypatch):
  table = pd.concat([_farm(site, rows).assign(site=site) for site, rows in SITES.items()])
  table = table.assign(zip=['007', 'A8', 'B9'] * 20).sample(frac=1, random_state=0)
  path = tmp_path / f'all.{suffix}'
  table.to_csv(path, index=False) if suffix == 'csv' else table.to_parquet(path, index=False)
  read = lambda: memory.read(_open(path, client_column='site', label_column='yield'))
  whole = read()
  monkeypatch.setattr(table_files, '_MOST_ROWS', 7)
  monkeypatch.setattr(table_rows, '_KEPT_BYTES', 0)
  monkeypatch.setattr(table_rows, '_JOINED_CELLS', 0)
  parts = read()
  assert list(parts.train.ids) == list(whole.train.ids)
  for a, b in ((whole.train.pooled(), parts.train.pooled()), (whole.test, parts.test)):
    np.testing.assert_allclose(a['x'], b['x'], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(a['y'], b['y'])
  source = _open(path, client_column='site', label_column='yield')
  assert max(len(part.examples['y']) for part in source.parts()) <= 7


def test_x_and_y_apart(tmp_path):
  for k in (1, 2):
    rng = np.random.default_rng(k)
    x = pd.DataFrame(rng.normal(size=(20, 3)), columns=['a', 'b', 'c'])
    x.to_csv(tmp_path / f'client_{k}_X.csv', index=False)
    (x['a'] > 0).astype(int).rename('t').to_csv(tmp_path / f'client_{k}_y.csv', index=False)
  source = _open(tmp_path)
  assert source.counts.ids == ['client_1', 'client_2']
  assert source.found.label == 't (labels apart): 2 classes'
  data = memory.read(source)
  pool = data.train.pooled()
  a = pool['x'][:, 0]
  assert a[pool['y'] == 1].min() > a[pool['y'] == 0].max()


def test_x_and_y_apart_without_headers(tmp_path):
  x, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 3
  np.savetxt(tmp_path / 'X_train.csv', x, delimiter=',')
  np.savetxt(tmp_path / 'y_train.csv', y, fmt='%d')
  np.savetxt(tmp_path / 'X_test.csv', x[:5], delimiter=',')
  np.savetxt(tmp_path / 'y_test.csv', y[:5], fmt='%d')
  data = tabular.load(DatasetOptions('', data_file=str(tmp_path), partition='iid'))
  assert isinstance(data, PooledData) and data.preprocessing
  assert data.train['y'].tolist() == y.tolist() and data.test['y'].tolist() == y[:5].tolist()
  np.testing.assert_array_equal(data.test['x'], data.train['x'][:5])


def test_train_and_test_files_of_clients(farms):
  for site in SITES:
    (farms / f'{site}.csv').rename(farms / f'{site}_train.csv')
    _farm(site, 5, seed=1).to_csv(farms / f'{site}_test.csv', index=False)
  source = _open(farms, label_column='yield')
  assert source.counts.train.tolist() == list(SITES.values())
  assert source.counts.test.tolist() == [5, 5, 5]


def test_a_split_column(farms, tmp_path):
  table = pd.concat([_farm(site, rows).assign(site=site) for site, rows in SITES.items()])
  table['split'] = np.where(np.arange(60) % 3 == 0, 'test', 'train')
  path = tmp_path / 'all.csv'
  table.to_csv(path, index=False)
  source = _open(path, client_column='site', label_column='yield')
  assert _roles(source)['split'] == 'split' and source.counts.test.tolist() == [10, 7, 3]
  table.rename(columns={'split': 'is_test'}).to_csv(path, index=False)
  said = _open(path, client_column='site', label_column='yield', columns='is_test:split')
  assert said.counts.test.tolist() == [10, 7, 3]


def test_a_label_is_found_by_its_name(farms):
  for site, rows in SITES.items():
    _farm(site, rows).rename(columns={'yield': 'Target'}).to_csv(farms / f'{site}.csv', index=False)
  source = _open(farms)
  assert source.found.label == 'Target (by its name): a number'
  for site, rows in SITES.items():
    _farm(site, rows).assign(y=1, target=2).to_csv(farms / f'{site}.csv', index=False)
  with checks.one_line_error('--label_column is missing', 'plot_id, sown, rain, soil, yield, y'):
    _open(farms)


def test_several_labels(farms):
  source = _open(farms, label_column='yield,rain')
  data = memory.read(source)
  checks.assert_form(data, [3 + 3], np.float32, [2], np.float32)
  assert data.label_scale.names == ('yield', 'rain') and data.num_classes == 1
  assert data.label_scale.mean.shape == (2,)


def test_roles_that_are_said(farms):
  said = 'plot_id:category,sown:ignore,soil:identifier,yield:label'
  source = _open(farms, columns=said)
  assert list(_roles(source).values()) == ['category', 'ignored', 'number', 'identifier', 'label']
  reasons = {column.reason for column in source.found.columns}
  assert reasons == {'--columns says so', 'numbers'}


def _ratings(path, users=8, films=6):
  pairs = [(100 + u, 5000 + 17 * f, (u + f) % 5 + 0.5) for u in range(users) for f in range(films)]
  table = pd.DataFrame(pairs, columns=['userId', 'movieId', 'rating'])
  table['timestamp'] = 965_000_000 + 86_400 * np.arange(len(table))
  table.to_csv(path, index=False)


def test_clients_are_ids_where_there_are_other_ids(tmp_path):
  _ratings(tmp_path / 'ratings.csv')
  open_ = lambda **more: _open(
    tmp_path / 'ratings.csv', client_column='userId', label_column='rating', **more
  )
  source = open_()
  assert [(c.name, c.vocabulary) for c in source.spec.inputs] == [
    ('userId', 9), ('movieId', 7), ('timestamp', None),
  ]  # fmt: skip
  assert 'also an input, as there are other ids' in source.found.columns[0].treatment
  for part in source.parts():
    assert set(part.examples['x'][:, 0]) == {part.client + 1}
  assert [c.name for c in open_(columns='userId:client').spec.inputs] == ['movieId', 'timestamp']


def test_categories_and_means_come_from_training_rows(tmp_path):
  train = pd.DataFrame({'a': [1.0, 3.0] * 5, 'ward': ['x', 'y'] * 5, 'label': [0, 1] * 5})
  test = pd.DataFrame({'a': [100.0, 1.0], 'ward': ['z', 'x'], 'label': [1, 0]})
  train.to_csv(tmp_path / 'train.csv', index=False)
  test.to_csv(tmp_path / 'test.csv', index=False)
  data = tabular.load(DatasetOptions('', data_file=str(tmp_path), partition='iid'))
  np.testing.assert_array_equal(data.test['x'], [[98, 0, 0], [-1, 1, 0]])


def test_a_class_at_one_site_only_is_a_note(farms):
  for site, rows in SITES.items():
    table = _farm(site, rows).assign(label=['low', 'high'] * (rows // 2))
    if site == 'hill':
      table.loc[3, 'label'] = 'none'
    table.to_csv(farms / f'{site}.csv', index=False)
  assert (
    "label label: 'none' is at client hill only" in _open(farms, columns='yield:ignore').found.notes
  )


def test_what_tells_clients_apart_is_a_note(tmp_path):
  for k, site in enumerate(SITES):
    farm = _farm(site, 20).assign(site=site, height=100.5 * k**2, soil=['clay', 'Clay'] * 10)
    farm = farm.assign(rain=None) if site == 'hill' else farm
    farm.to_csv(tmp_path / f'{site}.csv', index=False)
  source = _open(tmp_path, label_column='yield')
  assert _roles(source)['site'] == 'ignored'
  assert source.found.notes == [
    _TOLD,
    'column rain: client hill has no value of it to train on',
    "column soil: 'Clay' and 'clay' are two values; are they one?",
    'column height: one value a file: it gives its client away',
  ]


def test_rows_of_nobody(farms):
  path = farms / 'hill.csv'
  with checks.one_line_error('--client_column is missing', '--partition=iid --num_clients=10'):
    tabular.load(DatasetOptions('', data_file=str(path), label_column='yield'))
  options = DatasetOptions('', data_file=str(path), label_column='yield', partition='iid')
  data = tabular.load(options)
  assert isinstance(data, PooledData) and (len(data.train['y']), len(data.test['y'])) == (16, 4)


def test_what_is_said(farms, capsys):
  tabular.load(DatasetOptions('', data_file=str(farms), label_column='yield'))
  assert capsys.readouterr().err.splitlines() == [
    '3 files, CSV (separated by commas, UTF-8); clients: a file each: 3 clients; 48 + 12 rows; '
    'label yield: a number',
    'date: sown (dates written ISO8601)',
    'left out: plot_id (a record id: 100 % of its rows have one of their own)',
    _TOLD,
    "column soil: 'peat' is at client hill only: it gives its client away",
  ]


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'latin-1', 'utf-16', 'utf-16-le'])
@pytest.mark.parametrize('separator, decimal', [(';', ','), ('\t', '.'), ('|', ',')])
def test_a_file_however_it_is_written(tmp_path, encoding, separator, decimal):
  table = pd.DataFrame(
    {
      'Stadt': ['Köln', 'Ulm, Süd'] * 10,
      'Größe': np.linspace(-1.5, 1.5, 20).round(2),
      'label': ['ja', 'nein', 'jä', 'nein'] * 5,
    }
  )
  path = tmp_path / 'a.csv'
  table.to_csv(path, sep=separator, decimal=decimal, encoding=encoding, index=False)
  source = _open(path, client_column='Stadt')
  assert source.counts.ids == ['Köln', 'Ulm, Süd'] and source.found.classes == ('ja', 'jä', 'nein')
  (size,) = source.fitted.columns
  x = np.concatenate([part.examples['x'] for part in source.parts()])
  np.testing.assert_allclose(
    np.sort(x[:, 0] * size.deviation + size.mean), table['Größe'], atol=1e-6
  )


def test_a_column_that_one_file_has_no_values_of(farms):
  hill = _farm('hill', 20).assign(rain=np.nan, soil=None)
  hill.to_csv(farms / 'hill.csv', index=False)
  source = _open(farms, label_column='yield')
  assert list(_roles(source).values()) == ['ignored', 'date', 'number', 'category', 'label']
  assert [column.missing for column in source.found.columns] == [0, 0, 20, 20, 0]
  data = memory.read(source)
  (rain,) = [c.start for c in data.inputs if c.name == 'rain']
  assert not data.train.examples(1)['x'][:, rain].any()


def test_texts_that_stand_for_missing_values(farms):
  table = _farm('coast', 30)
  marked = table.astype({'rain': str})
  marked.loc[:2, 'rain'] = ['-999', 'unknown', 'n.d.']
  marked.to_csv(farms / 'coast.csv', index=False)
  source = _open(farms, label_column='yield', missing='-999, unknown,n.d.')
  [rain] = [column for column in source.found.columns if column.name == 'rain']
  assert (rain.role, rain.missing) == ('number', 3)
  table.loc[:2, 'rain'] = np.nan
  table.to_csv(farms / 'coast.csv', index=False)
  plain = memory.read(_open(farms, label_column='yield'))
  np.testing.assert_array_equal(memory.read(source).test['x'], plain.test['x'])


def test_rows_without_a_label_are_left_out(tmp_path):
  rows = 40
  table = pd.DataFrame(
    {
      'site': ['a', 'b'] * (rows // 2),
      'x': np.arange(rows),
      'sick': [0, 1, 1, 0] * (rows // 4),
      'days': np.arange(rows) * 2.0,
    }
  )
  full = table.drop(index=[3, 8, 9]).reset_index(drop=True)
  for label in ('sick', 'days'):
    for name, own in (
      ('holes', table.assign(**{label: table[label].drop([3, 8, 9])})),
      ('full', full),
    ):
      own.to_csv(tmp_path / f'{name}.csv', index=False)
    given = {'client_column': 'site', 'label_column': label, 'columns': 'x:number'}
    holes, expected = (_open(tmp_path / f'{name}.csv', **given) for name in ('holes', 'full'))
    assert f'3 rows have no label ({label}), and are left out' in holes.found.notes
    assert holes.counts.train.tolist() == expected.counts.train.tolist()
    left, right = memory.read(holes), memory.read(expected)
    for key in 'xy':
      np.testing.assert_allclose(left.test[key], right.test[key], rtol=1e-6)
      np.testing.assert_allclose(left.train.pooled()[key], right.train.pooled()[key], rtol=1e-6)

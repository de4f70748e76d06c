"""Several owners find out together what one would who had all rows."""

import numpy as np
import pandas as pd
import pytest

from fl_research.datasets.federated_data import DatasetOptions
from fl_research.importing import shared_fit
from fl_research.importing.table_source import TableSource
from fl_research.registry import UsageError

SIZES = {'north': 40, 'south': 25, 'west': 7}


def _table(label):
  draw = np.random.default_rng(3)
  rows = sum(SIZES.values())
  table = pd.DataFrame(
    {
      'site': np.repeat(list(SIZES), list(SIZES.values())),
      'age': draw.normal(50, 12, rows).round(1),
      'pressure': np.where(draw.random(rows) < 0.2, np.nan, draw.normal(130, 20, rows).round()),
      'unit': 4.5,
      'dose': draw.normal(3, 1, rows) * 1e-9,
      'pain': draw.choice(['none', 'mild', 'severe'], rows, p=[0.2, 0.1, 0.7]),
      'seen': pd.Timestamp('2020-01-01') + pd.to_timedelta(draw.integers(0, 900, rows), 'D'),
      'split': np.where(np.arange(rows) % 4 == 0, 'test', 'train'),
      'outcome': draw.choice(['ill', 'well'], rows)
      if label == 'class'
      else draw.normal(9, 3, rows),
    }
  )
  table.loc[table['site'] == 'west', 'pain'] = 'none'
  table.loc[::9, 'pain'] = None  # The most frequent one counts for them.
  if label == 'class':
    table.loc[table['site'] == 'west', 'outcome'] = 'well'  # One class only.
  return table


def _parts(table, tmp_path, least=1, columns='unit:number'):
  parts = {}
  for name in SIZES:
    path = tmp_path / f'{name}.csv'
    table[table['site'] == name].drop(columns='site').to_csv(path, index=False)
    options = DatasetOptions('', data_file=str(path), label_column='outcome', columns=columns)
    parts[name] = shared_fit.Part(options, least)
  return parts


def _together(parts):
  agreement = shared_fit.Agreement({name: part.facts() for name, part in parts.items()})
  columns = agreement.columns
  agreement.name_categories([part.categories(columns) for part in parts.values()])
  sums = sum(part.sums(columns, agreement.categories) for part in parts.values())
  means = agreement.means(sums)
  squares = sum(part.squares(columns, means) for part in parts.values())
  return agreement.preprocessing(sums, squares)


@pytest.mark.parametrize('label', ['class', 'number'])
def test_as_one_who_has_all_rows(label, tmp_path):
  table = _table(label)
  path = tmp_path / 'all.csv'
  table.to_csv(path, index=False)
  options = DatasetOptions(
    '', data_file=str(path), label_column='outcome', client_column='site', columns='unit:number'
  )
  alone, together = TableSource(options).fitted, _together(_parts(table, tmp_path))
  assert together.names == alone.names
  np.testing.assert_allclose(together.transform(table), alone.transform(table), atol=1e-6)
  np.testing.assert_array_equal(together.labels(table), alone.labels(table))
  assert together.label.names == alone.label.names
  if label == 'number':
    for own in ('mean', 'deviation'):
      values = [getattr(fitted.label.scale, own) for fitted in (together, alone)]
      np.testing.assert_allclose(*values, rtol=1e-6)


def test_a_column_without_values_has_mean_zero(tmp_path):
  table = _table('class').assign(empty=np.nan)
  parts = _parts(table, tmp_path, columns='unit:number,empty:number')
  agreement = shared_fit.Agreement({name: part.facts() for name, part in parts.items()})
  columns = agreement.columns
  agreement.name_categories([part.categories(columns) for part in parts.values()])
  means = agreement.means(sum(p.sums(columns, agreement.categories) for p in parts.values()))
  place = [c['name'] for c in columns if c['role'] in ('number', 'date')].index('empty')
  assert means[place] == 0.0
  assert np.isfinite(means).all()


def test_a_column_that_only_test_rows_have(tmp_path):
  table = _table('class')
  table['late'] = np.where(table['split'] == 'test', np.arange(len(table)), np.nan)
  fitted = _together(_parts(table, tmp_path))
  [late] = [column for column in fitted.to_data()['columns'] if column['name'] == 'late']
  assert (late['mean'], late['deviation']) == (0.0, 1.0)


def test_rare_categories_are_not_named(tmp_path):
  table = _table('class')
  table.loc[0, 'pain'] = 'unheard of'
  table.loc[0, 'split'] = 'train'
  assert 'unheard of' in _together(_parts(table, tmp_path)).to_data()['columns'][4]['categories']
  parts = _parts(table, tmp_path, least=2)
  columns = parts['north'].facts()['columns']
  assert 'unheard of' not in str([part.categories(columns) for part in parts.values()])
  fitted = _together(parts)
  assert 'unheard of' not in fitted.to_data()['columns'][4]['categories']
  assert not fitted.transform(table.head(1))[0, 4:7].any()


def test_columns_that_differ_are_named(tmp_path):
  table = _table('class')
  facts = {name: part.facts() for name, part in _parts(table, tmp_path).items()}
  changed = table.copy()
  changed['age'] = changed['age'].map(lambda age: 'old' if age > 50 else 'young')
  facts['west'] = _parts(changed, tmp_path)['west'].facts()
  with pytest.raises(UsageError, match=r'column age: number .* at north and category .* at west'):
    shared_fit.Agreement(facts)
  facts['west'] = _parts(table.drop(columns='pain'), tmp_path)['west'].facts()
  with pytest.raises(UsageError, match='column pain: an input at north and none at west'):
    shared_fit.Agreement(facts)


def test_identifiers_stay_where_they_are(tmp_path):
  with pytest.raises(UsageError, match=r'column pain: holds ids.*--columns=pain:ignore'):
    _parts(_table('class'), tmp_path, columns='pain:identifier')['north'].facts()

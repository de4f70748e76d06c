"""Windows of a time series: none crosses a client, a gap, or from training into testing."""

import numpy as np
import pytest

from fl_research.datasets.federated_data import DatasetOptions, Problem
from fl_research.importing import windows
from tests.datasets import dataset_checks as checks
from tests.importing import made


def options(path, **changes):
  usual = {'client_column': 'subject', 'label_column': 'state', 'window_length': 8}
  return DatasetOptions(data_dir='', data_file=str(path), **{**usual, **changes})


def raw(data, examples):
  """x in the table's own units."""
  own = data.preprocessing
  return np.rint(examples['x'] * own['deviation'] + own['mean']).astype(int)


def test_windows_of_rows(tmp_path):
  path = made.series(tmp_path / 's.csv')
  data = windows.load(options(path, time_column='second'))
  checks.assert_form(data, [8, 2], np.float32, [], np.int32)
  assert data.problem is Problem.BINARY and data.class_names == ('a', 'b')
  # Starts 0, 4, ..., 32: nine windows, two of them for testing (28 and 32); 24 shares rows with 28.
  assert data.train.sizes.tolist() == [6, 6] and data.test_clients.sizes.tolist() == [2, 2]
  train, test = (raw(data, c.examples(0)) for c in (data.train, data.test_clients))
  assert train[:, 0, 0].tolist() == [0, 4, 8, 12, 16, 20] and test[:, 0, 0].tolist() == [28, 32]
  np.testing.assert_array_equal(train[2, :, 1], 2 * np.arange(8, 16))
  # Half of rows 4 to 11 are of each state: the first wins.
  assert data.train.examples(0)['y'].tolist() == [0, 0, 1, 0, 0, 0]
  last = windows.load(options(path, time_column='second', window_label='last'))
  assert last.train.examples(0)['y'].tolist() == [0, 1, 1, 0, 0, 1]


def test_channels_are_standardised_by_training_rows(tmp_path):
  data = windows.load(options(made.series(tmp_path / 's.csv'), time_column='second'))
  used = np.arange(28)
  np.testing.assert_allclose(data.preprocessing['mean'], [used.mean(), 2 * used.mean()])
  np.testing.assert_allclose(data.preprocessing['deviation'][0], used.std())
  assert data.preprocessing['channels'] == ['ax', 'ay']


def test_no_window_crosses_a_gap(tmp_path):
  path = made.series(tmp_path / 's.csv', second=lambda _, k: k + 100 * (k >= 13))
  data = windows.load(options(path, time_column='second'))
  starts = np.concatenate(
    [raw(data, c.examples(0))[:, 0, 0] for c in (data.train, data.test_clients)]
  )
  assert not set(starts.tolist()) & set(range(6, 13)) and 13 in starts
  unaware = windows.load(options(path))
  assert unaware.train.sizes[0] + unaware.test_clients.sizes[0] > len(starts)


def test_rows_without_a_value_are_gaps_and_said(tmp_path):
  path = made.series(tmp_path / 's.csv', ax=lambda _, k: '' if k == 20 else k)
  source = windows.open_source(options(path, time_column='second'))
  assert '2 rows without a value are gaps' in source.found.notes
  found = {column.name: (column.role, column.missing) for column in source.found.columns}
  assert found['ax'] == ('number', 2) and found['state'][0] == 'label'
  for part in source.parts():
    assert np.isfinite(part.examples['x']).all()


def test_a_table_is_written_in_any_way(tmp_path):
  path = made.series(tmp_path / 's.csv', ax=lambda _, k: k / 4)
  expected = windows.load(options(path, time_column='second'))
  foreign = path.read_text().replace(',', ';').replace('.', ',').replace('s1', 'Süd')
  (tmp_path / 'foreign.csv').write_bytes(foreign.encode('latin-1'))
  data = windows.load(options(tmp_path / 'foreign.csv', time_column='second'))
  assert list(data.train.ids) == ['Süd', 's2']
  np.testing.assert_array_equal(data.train.pooled()['x'], expected.train.pooled()['x'])


def test_rows_are_sorted_by_time(tmp_path):
  path = made.series(tmp_path / 's.csv')
  head, *rows = path.read_text().splitlines()
  (tmp_path / 'mixed.csv').write_text('\n'.join([head, *rows[::-1]]) + '\n')
  in_order = windows.load(options(path, time_column='second'))
  mixed = windows.load(options(tmp_path / 'mixed.csv', time_column='second'))
  own = mixed.train.examples(list(mixed.train.ids).index('s1'))
  np.testing.assert_array_equal(own['x'], in_order.train.examples(0)['x'])


def test_numbers_are_predicted_in_their_own_units(tmp_path):
  path = made.series(tmp_path / 's.csv', power=lambda _, k: 1000.5 + 10 * k)
  data = windows.load(options(path, label_column='power', time_column='second'))
  assert data.problem is Problem.REGRESSION
  y = data.train.pooled()['y']
  assert y[:2].tolist() == [1070.5, 1110.5]
  assert data.label_scale.mean == pytest.approx(y.mean()) and 0 < data.label_scale.deviation < 100


@pytest.mark.parametrize('stride, count', [(1, 33), (8, 5), (100, 1)])
def test_stride(tmp_path, stride, count):
  path = made.series(tmp_path / 's.csv')
  source = windows.open_source(options(path, window_stride=stride))
  kept = source.counts.train + source.counts.test
  assert kept[0] <= count and source.counts.test[0] == max(count > 1, int(0.2 * count + 0.5))

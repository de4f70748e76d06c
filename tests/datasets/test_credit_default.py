import gzip

import numpy as np
import pytest

from fl_research.datasets import credit_default
from fl_research.datasets.federated_data import DatasetOptions, Problem
from tests.datasets import dataset_checks as checks

COLUMNS = ['ID', *credit_default._NUMERIC, 'SEX', 'EDUCATION', 'MARRIAGE', credit_default._LABEL]


def table(rows=20) -> str:
  lines = [','.join(COLUMNS)]
  for row in range(rows):
    lines.append(
      ','.join(map(str, [row, *[row] * 20, 1 + row % 2, row % 7, row % 4, row % 4 // 3]))
    )
  return '\n'.join(lines)


@pytest.fixture
def folder(tmp_path, monkeypatch):
  (tmp_path / 'credit_default').mkdir()
  monkeypatch.setattr(
    credit_default, '_SHA256', {credit_default._PLAIN: (), credit_default._PACKED: ()}
  )
  return tmp_path / 'credit_default'


def test_the_published_table():
  data = credit_default.load(checks.published('credit_default', 'UCI_Credit_Card.csv.gz'))
  assert (data.problem, data.num_classes) == (Problem.BINARY, 2)
  assert data.train['x'].shape == (24_000, 33) and data.test['x'].shape == (6_000, 33)
  assert data.train['x'].dtype == np.float32 and data.train['y'].dtype == np.int32
  assert int(data.train['y'].sum()) + int(data.test['y'].sum()) == 6_636
  assert int(data.test['y'].sum()) == 1_327
  numbers = data.train['x'][:, :20].astype(np.float64)  # Sums of float32 are 1e-4 off.
  np.testing.assert_allclose(numbers.mean(axis=0), 0, atol=1e-6)
  np.testing.assert_allclose(numbers.std(axis=0), 1, atol=1e-5)
  assert not np.allclose(data.test['x'][:, :20].mean(axis=0), 0, atol=1e-4)
  # Every code of the three nominal columns has its position.
  np.testing.assert_array_equal(data.test['x'][:, 20:].sum(axis=1), 3)


@pytest.mark.parametrize('packed', [False, True])
def test_plain_and_packed_tables_are_the_same(folder, packed):
  if packed:
    (folder / 'UCI_Credit_Card.csv.gz').write_bytes(gzip.compress(table().encode()))
  else:
    (folder / 'UCI_Credit_Card.csv').write_text(table())
  data = credit_default.load(DatasetOptions(data_dir=str(folder.parent)))
  assert (len(data.train['y']), len(data.test['y'])) == (16, 4)
  assert (data.train['y'].sum(), data.test['y'].sum()) == (4, 1)
  assert list(data.sources) == ['UCI_Credit_Card.csv.gz' if packed else 'UCI_Credit_Card.csv']


@pytest.mark.parametrize(
  'text',
  ['', table().replace('SEX', 'GENDER'), table().replace('\n3,3,', '\n3,many,'), 'no table'],
)
def test_malformed_tables(folder, text):
  (folder / 'UCI_Credit_Card.csv').write_text(text)
  with checks.one_line_error('UCI_Credit_Card.csv', 'not the published table'):
    credit_default.load(DatasetOptions(data_dir=str(folder.parent)))


def test_a_packed_table_cut_short(folder):
  (folder / 'UCI_Credit_Card.csv.gz').write_bytes(gzip.compress(table(500).encode())[:-200])
  with checks.one_line_error('UCI_Credit_Card.csv.gz', 'truncated'):
    credit_default.load(DatasetOptions(data_dir=str(folder.parent)))


def test_without_file_and_network_the_address_is_named(tmp_path, monkeypatch):
  monkeypatch.setattr(credit_default, '_URL', checks.NOWHERE)
  with checks.one_line_error('UCI_Credit_Card.csv', checks.NOWHERE, str(tmp_path)):
    credit_default.load(DatasetOptions(data_dir=str(tmp_path)))

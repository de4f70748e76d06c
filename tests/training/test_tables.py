"""CSV files that grow by rows: exact numbers, and only whole rows after a crash."""

import contextlib
import csv
import errno
import math
import os
import resource

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pandas as pd
import pytest

from fl_research.training import tables
from fl_research.training.tables import Table

ROWS = [{'round': r, 'loss': 1 / (r + 3), 'name': f'x{r}'} for r in range(5)]


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'table.csv'


def filled(path, rows=ROWS):
  Table(path, -1).append(rows)
  return path.read_bytes()


@settings(deadline=None)
@given(st.lists(st.floats(), min_size=1, max_size=5))
def test_floats_read_back_exactly(values):
  row = {f'c{i}': value for i, value in enumerate(values)}
  text = tables.to_csv(list(row), [row])
  found = list(csv.reader(text.splitlines()))[1] if text.count('\n') > 1 else ['']
  for value, written in zip(values, found):
    if math.isnan(value):
      assert written == ''
    else:
      assert float(written) == value and math.copysign(1, float(written)) == math.copysign(1, value)


def test_what_values_look_like():
  row = {
    'none': None,
    'nan': np.float64('nan'),
    'float32': np.float32(0.1),
    'int': np.int64(3),
    'bool': True,
    'text': 'a "b", c',
    'absent': None,
  }
  del row['absent']
  text = tables.to_csv([*row, 'absent'], [row])
  assert text.splitlines()[1] == ',,0.10000000149011612,3,True,"a ""b"", c",'


def test_pandas_reads_what_is_written(path):
  filled(path)
  table = pd.read_csv(path, float_precision='round_trip')
  assert table.to_dict('records') == ROWS


def test_the_first_row_decides_on_the_columns(path):
  table = Table(path, -1)
  table.append([{'round': 0, 'b': 1.5, 'a': 2.5}])
  table.append([{'a': 3.5, 'round': 1, 'new': 9}])
  table.append([])
  assert path.read_text() == 'round,b,a\n0,1.5,2.5\n1,,3.5\n'


@pytest.mark.parametrize('last_round', range(-1, 7))
def test_a_resumed_table_goes_on_after_a_round(path, last_round):
  whole = filled(path)
  table = Table(path, last_round)
  assert tables.last_round(path) == min(last_round, 4)
  assert path.exists() == (last_round >= 0)
  table.append(ROWS[last_round + 1 :])
  assert path.read_bytes() == whole


def test_several_rows_of_a_round_go_together(path):
  rows = [{'round': r, 'client_id': c} for r in (1, 2, 5) for c in 'abc']
  whole = filled(path, rows)
  Table(path, 4).append(rows[6:])
  assert path.read_bytes() == whole
  Table(path, 0)
  assert not path.exists()


def test_a_table_torn_at_any_byte_keeps_its_whole_rows(path):
  rows = [
    {'round': 0, 'name': 'plain', 'value': 0.1},
    {'round': 10, 'name': 'a "quoted", name', 'value': None},
    {'round': 11, 'name': 'two\nlines, and\r a return and \x1c\u2028', 'value': 2.5},
    {'round': 12, 'name': 'ä', 'value': 1e300},
  ]
  whole = filled(path, rows)
  ends = [len(tables.to_csv(['round', 'name', 'value'], rows[:n]).encode()) for n in range(5)]
  assert ends[-1] == len(whole)
  for size in range(len(whole) + 1):
    path.write_bytes(whole[:size])
    kept = sum(end <= size for end in ends[1:])
    assert tables.last_round(path) == (rows[kept - 1]['round'] if kept else -1)
    Table(path, 99).append(rows[kept:])
    assert path.read_bytes() == whole, size


def test_garbage_ends_the_table(path):
  whole = filled(path)
  path.write_bytes(whole + b'\0\xff\xfe,,\n' + b'5,0.1,x5\n')
  Table(path, 99)
  assert path.read_bytes() == whole


def test_last_row(path):
  assert tables.last_row(path) == {}
  filled(path)
  assert tables.last_row(path) == {'round': '4', 'loss': repr(1 / 7), 'name': 'x4'}


def test_rows_may_be_long(path):
  names = ' '.join(f'client_{i:06d}' for i in range(20_000))
  filled(path, [{'round': 0, 'dropped': names}, {'round': 1, 'dropped': ''}])
  Table(path, 0)
  assert tables.last_row(path)['dropped'] == names


@contextlib.contextmanager
def full_at(size):
  """No file of this process can grow beyond so many bytes."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_rows_that_were_there(path):
  whole = filled(path)
  table = Table(path, 99)
  with full_at(len(whole) + 3), pytest.raises(OSError, match=r'File too large: .*table\.csv'):
    table.append([{'round': 5, 'loss': 0.1, 'name': ''}])
  assert path.read_bytes() == whole
  table.append([{'round': 5, 'loss': 0.1, 'name': ''}])
  assert path.read_bytes() == whole + b'5,0.1,\n'


def test_a_first_row_that_could_not_be_written_comes_with_the_header_again(path):
  table = Table(path, -1)
  with full_at(3), pytest.raises(OSError, match='File too large'):
    table.append(ROWS[:1])
  table.append(ROWS)
  assert pd.read_csv(path, float_precision='round_trip').to_dict('records') == ROWS


def test_rows_are_brought_to_the_disk_when_it_is_asked_for(path, monkeypatch):
  synced = []
  monkeypatch.setattr(os, 'fsync', lambda d: synced.append(os.readlink(f'/proc/self/fd/{d}')))
  table = Table(path, -1)
  table.sync()
  table.append(ROWS)
  assert not synced
  table.sync()
  assert synced == [str(path)]

  def refuse(descriptor):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(os, 'fsync', refuse)
  with pytest.raises(OSError, match=r'No space left on device: .*table\.csv'):
    table.sync()

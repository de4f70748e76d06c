"""Files that no table can be made of: one line that names the file, and the place in it.

Each case is a folder of files; the line is that of reading it.
"""

import gzip
import io

import numpy as np
import pandas as pd
import pytest

from fl_research.datasets.federated_data import DatasetOptions
from fl_research.importing.table_source import TableSource
from tests.datasets import dataset_checks as checks

ROWS = 12


def _csv(**changes) -> bytes:
  """Rows of two hospitals."""
  table = pd.DataFrame(
    {
      'hospital': np.repeat(['north', 'south'], ROWS // 2),
      'age': np.arange(30, 30 + ROWS),
      'ward': ['a', 'b', 'c'] * (ROWS // 3),
      'sick': [0, 1] * (ROWS // 2),
    }
  )
  return table.assign(**changes).to_csv(index=False).encode()


def _parquet(table=None) -> bytes:
  buffer = io.BytesIO()
  (pd.read_csv(io.BytesIO(_csv())) if table is None else table).to_parquet(buffer)
  return buffer.getvalue()


def _cell(column, row, value) -> bytes:
  table = pd.read_csv(io.BytesIO(_csv())).astype({column: object})
  table.loc[row - 1, column] = value
  return table.to_csv(index=False).encode()


def _wide(columns) -> bytes:
  return b'\n'.join(b','.join([b'%d' % k] * columns) for k in range(3))


HEADER = b'hospital,age,ward,sick\n'

ONE_FILE = {
  'empty': (b'', ['is empty']),
  'empty lines': (b'\n\n \n', ['is empty']),
  'header only': (HEADER, ['has no rows']),
  'cut short': (_csv()[:-9], ['line 13', '1 of 4 fields', 'cut short']),
  'a row too long': (_csv() + b'a,1,b,0,9\n', ['line 14', '5 of 4 fields']),
  'a row too short': (HEADER + b'a,1\n' + _csv()[len(HEADER) :], ['line 2', '2 of 4 fields']),
  'rows that make up for one another': (
    HEADER + b'n,1,a,0,9\nn,1,a\n' + _csv()[len(HEADER) :],
    ['line 2'],
  ),
  'trailing separators': (HEADER + b'n,1,a,0,\n' * 8, ['line 2', '5 of 4 fields']),
  'an open quote': (_csv() + b's,"4,a,0\ns,4,a,1\n', ['line 15', '2 of 4 fields']),
  'a NUL byte': (_csv() + b's,4,a\0,0\n', ['line 14', 'a NUL byte']),
  'a picture': (b'\x89PNG\r\n\x1a\n' + bytes(100), ['the byte 1a', 'is it a text file']),
  'random bytes': (np.random.default_rng(0).bytes(5000), ['is it a text file']),
  'two encodings': (
    HEADER + 'Süd,1,a,0\n'.encode() + 'Süd,2,a,1\n'.encode('latin-1'),
    ['two encodings', 'line 2 is UTF-8, line 3 is not'],
  ),
  'half of UTF-16': (_csv().decode().encode('utf-16')[:-1], ['utf-16']),
  'gzip cut short': (gzip.compress(_csv())[:-20], ['patients.csv.gz', 'damaged, truncated']),
  'no gzip': (_csv(), ['patients.csv.gz', 'damaged, truncated']),
  'a column twice': (_csv().replace(b'ward', b'age'), ['several columns are named age']),
  '100,000 columns': (_wide(100_000), ['100000 columns, more than 10000', '.npz']),
  'most labels missing': (
    _csv(sick=[0, 1] * 2 + [None] * 8),
    ['sick', '8 of 12 rows', 'first in row 5', 'leave'],
  ),
  'a client missing': (_cell('hospital', 7, None), ['hospital', 'no client, first in row 7']),
  'an infinity': (_cell('age', 3, np.inf), ['column age', 'row 3', 'beyond float32']),
  'a number too large': (_cell('age', 3, 1e39), ['column age', 'row 3', 'beyond float32']),
  'an infinite label': (_cell('sick', 4, '-inf'), ['sick', 'row 4', 'beyond float32']),
  'a text among numbers': (
    _cell('age', 9, 'old'),
    ['column age', "row 9 holds 'old' among", "--missing='old'"],
  ),
  'one label': (_csv(sick=1), ['the same label']),
  'classes in two spellings': (_csv(sick=['yes', 'no', 'Yes'] * 4), ["'Yes' and 'yes'"]),
  'a label that is an id': (_csv(sick=[f'p{k}x' for k in range(ROWS)]), ['no classes']),
  'a label of dates': (
    _csv(sick=['2024-01-01', '2024-01-02', '2024-02-01'] * 4),
    ['--label_column=sick', 'holds dates'],
  ),
  'lines above the names': (b'# by me\n' + _csv(), ['line 2', 'lines above the names']),
  'several units': (
    _csv(age=[f'{k} {("kg", "lb")[k % 2]}' for k in range(ROWS)]),
    ['age', 'several units (kg, lb)'],
  ),
  'nothing to learn from': (_csv(age=1, ward='a'), ['can be learnt from', 'ward has one value']),
  'a row each': (_csv(hospital=range(ROWS)), ['single row']),
  'Parquet cut short': (_parquet()[:-30], ['not readable as Parquet']),
  'Parquet by name': (b'PAR1' + bytes(50), ['not readable as Parquet']),
}


@pytest.mark.parametrize('case', ONE_FILE)
def test_a_file(case, tmp_path):
  content, parts = ONE_FILE[case]
  path = tmp_path / ('patients.csv.gz' if 'gzip' in case else 'patients.csv')
  path.write_bytes(content)
  of_flags = ('one label', 'classes in two spellings', 'a label that is an id', 'a label of dates')
  where = '' if case in of_flags else path.name
  with checks.one_line_error(*parts, 'hospital' if case == 'a row each' else where):
    TableSource(
      DatasetOptions('', data_file=str(path), client_column='hospital', label_column='sick')
    )


FOLDERS = {
  'no tables': ({'notes.txt': b'a'}, ['is a folder without tables']),
  'a column more': (
    {'a.csv': _csv(), 'b.csv': _csv(weight=1)},
    ['b.csv', 'has a column weight that', 'a.csv has not'],
  ),
  'a column less': (
    {'a.csv': _csv(weight=1, height=2), 'b.csv': _csv()},
    ['a.csv', 'has a column weight and 1 more that', 'b.csv has not'],
  ),
  'another type': (
    {'a.csv': _csv(), 'b.csv': _csv(age=['old', 'young'] * 6)},
    ['b.csv', 'column age is of kind text', 'of kind number in', 'a.csv'],
  ),
  'classes of another type': (
    {'a.csv': _csv(), 'b.csv': _csv(sick=['no', 'yes'] * 6)},
    ['b.csv', 'column sick is of kind text', 'a.csv'],
  ),
  'other separators, one read wrongly': (
    {'a.csv': _csv(), 'b.csv': _csv().replace(b',', b'#')},
    ['has a column'],
  ),
  'one of them empty': (
    {'a.csv': _csv(), 'b.csv': HEADER},
    ['b.csv', 'has no rows', 'take it away'],
  ),
  'one of them a picture': (
    {'a.csv': _csv(), 'b.csv': b'\x89PNG\r\n\x1a\n' + bytes(9)},
    ['b.csv', 'the byte 1a'],
  ),
  'one name twice': ({'a.csv': _csv(), 'a.parquet': _parquet()}, ['a.csv and a.parquet']),
  'X without y': (
    {'a_X.csv': _csv(), 'a_y.csv': b'l\n1\n', 'b_X.csv': _csv()},
    ['b_X.csv', 'other half'],
  ),
  'y too short': (
    {'a_X.csv': _csv(), 'a_y.csv': b'l\n' + b'1\n0\n' * 5},
    ['a_y.csv', '10 rows, a_X.csv 12'],
  ),
  'y too long': (
    {'a_X.csv': _csv(), 'a_y.csv': b'l\n' + b'1\n0\n' * 7},
    ['a_y.csv', '14 rows, a_X.csv 12'],
  ),
  'y has a column of X': (
    {'a_X.csv': _csv(), 'a_y.csv': b'sick\n' + b'1\n0\n' * 6},
    ['has a column sick, as'],
  ),
  'one neither train nor test': (
    {'a_train.csv': _csv(), 'a_test.csv': _csv(), 'b.csv': _csv()},
    ['b.csv is neither'],
  ),
  'one of nobody': (
    {'train.csv': _csv(), 'test.csv': _csv(), 'b_train.csv': _csv(), 'b_test.csv': _csv()},
    ['no client in it'],
  ),
}


@pytest.mark.parametrize('case', FOLDERS)
def test_a_folder(case, tmp_path):
  contents, parts = FOLDERS[case]
  for name, content in contents.items():
    (tmp_path / name).write_bytes(content)
  label = None if any('_y' in name for name in contents) else 'sick'
  with checks.one_line_error(*parts):
    TableSource(DatasetOptions('', data_file=str(tmp_path), label_column=label))


FLAGS = {
  'no such role': ({'columns': 'age:numbr'}, ["'age:numbr' is no column:role", 'identifier']),
  'two roles': ({'columns': 'age:number,age:ignore'}, ['age has two roles']),
  'no such column': ({'columns': 'aeg:ignore'}, ['--columns=aeg', 'did you mean age?']),
  'weights': ({'columns': 'age:weight'}, ['--columns=age:weight', 'does not weigh', 'age:ignore']),
  'texts as numbers': ({'columns': 'ward:number'}, ['--columns=ward:number', 'kind text']),
  'texts as dates': ({'columns': 'ward:date'}, ['--columns=ward:date', "'a'", '%d.%m.%Y']),
  'numbers as dates': ({'columns': 'age:date'}, ['--columns=age:date', 'since 1970']),
  'words that are no split': ({'columns': 'ward:split'}, ['row 1', "'a'", 'train and test']),
  'the label ignored': ({'columns': 'sick:ignore'}, ['it is the --label_column']),
  'another label': ({'columns': 'age:label'}, ['the labels are in sick']),
  'another client': ({'columns': 'ward:client'}, ['the clients are in column hospital']),
  'a label typo': ({'label_column': 'sik'}, ['--label_column=sik', 'did you mean sick?']),
  'several labels': ({'label_column': 'age,ward'}, ['column ward', 'numbers, or tags']),
  'the client as label': ({'label_column': 'hospital'}, ['is also the --client_column']),
  'a long separator': ({'separator': ';;'}, ['--separator=;;', 'one character, or tab']),
  'no such encoding': ({'encoding': 'utf-9'}, ['patients.csv', 'utf-9', 'unknown encoding']),
  'the wrong encoding': ({'encoding': 'ascii'}, ['patients.csv', 'ascii', "can't decode"]),
  'separator and decimal': ({'separator': ',', 'decimal': ','}, ['cannot be both']),
}


@pytest.mark.parametrize('case', FLAGS)
def test_flags(case, tmp_path):
  changes, parts = FLAGS[case]
  path = tmp_path / 'patients.csv'
  path.write_bytes(_csv().replace(b'north', 'nörth'.encode()))
  columns = {'client_column': 'hospital', 'label_column': 'sick', **changes}
  with checks.one_line_error(*parts):
    TableSource(DatasetOptions('', data_file=str(path), **columns))

"""Columns that tell the label, and rows that come twice, are said."""

import numpy as np
import pandas as pd
import pytest

from fl_research.datasets.federated_data import DatasetOptions
from fl_research.importing import leaks
from fl_research.importing.table_source import TableSource

N = 120
_RNG = np.random.default_rng(0)
_SICK = _RNG.permutation(N) % 2
_X = _RNG.normal(size=N)


def _notes(tmp_path, label='sick', **columns):
  table = pd.DataFrame({'site': list('abc') * (N // 3), 'x': _X, 'sick': _SICK, **columns})
  return _notes_of(tmp_path, table, label)


def _notes_of(tmp_path, table, label='sick'):
  path = tmp_path / 'rows.csv'
  table.to_csv(path, index=False)
  options = DatasetOptions('', data_file=str(path), client_column='site', label_column=label)
  found = TableSource(options).found.notes
  return [note for note in found if 'alone tells' in note or 'more than once' in note]


TELLING = {
  'a copy': _SICK,
  'another coding': 7 - 2 * _SICK,
  'words': np.where(_SICK, 'dead', 'alive'),
  'a score': _SICK * 3 + _RNG.random(N),
  'there in one class only': np.where(_SICK, _RNG.normal(size=N), np.nan),
  'codes on both sides': np.where(_SICK, 2, _RNG.permutation(N) % 2 * 2 + 1),
  'missing words': np.where(_SICK, None, _RNG.choice(['home', 'ward'], N)),
}


@pytest.mark.parametrize('case', TELLING)
def test_a_column_that_tells_the_class(case, tmp_path):
  (note,) = _notes(tmp_path, code=TELLING[case])
  assert 'column code alone tells sick' in note and '--columns=code:ignore' in note


_BUT_ONE = np.where(np.arange(N) == 60, 1 - _SICK, _SICK)

SILENT = {
  'all but one row': _BUT_ONE,
  'a score that overlaps': _SICK + _RNG.normal(size=N),
  'a word for few rows each': [f'w{k // 2}' for k in np.argsort(np.argsort(_SICK, kind='stable'))],
}


@pytest.mark.parametrize('case', SILENT)
def test_a_column_that_does_not(case, tmp_path):
  assert not _notes(tmp_path, code=SILENT[case])


def test_patients_whose_rows_have_one_label(tmp_path):
  patient = 100 + np.arange(N) % 30 * 2 + _SICK
  (note,) = _notes(tmp_path, patient_id=patient)
  assert 'column patient_id alone tells sick' in note and 'names what comes again' in note
  assert not _notes(tmp_path, drug_id=100 + np.arange(N) % 30)


def test_a_label_that_is_another_column_in_other_units(tmp_path):
  y = 3 * _X + 1
  (note,) = _notes(tmp_path, label='y', y=y)
  assert 'column x alone tells y' in note
  assert not _notes(tmp_path, label='y', y=y + _RNG.normal(size=N))


def test_few_rows_tell_nothing(tmp_path):
  table = pd.DataFrame({'site': ['a', 'b'] * 8, 'x': range(16), 'sick': [0] * 8 + [1] * 8})
  assert not _notes_of(tmp_path, table)


def test_rows_that_come_twice(tmp_path):
  table = pd.DataFrame(
    {
      'record_id': range(N),
      'site': list('abc') * (N // 3),
      'x': _X,
      'ward': list('uv') * (N // 2),
      'sick': _SICK,
    }
  )
  assert not _notes_of(tmp_path, table)
  twice = table.iloc[:30].assign(site='a', record_id=range(N, N + 30))
  (note,) = _notes_of(tmp_path, pd.concat([table, twice]))
  assert '60 of 150 rows come more than once' in note
  # Of the 30 pairs, the 20 whose first row is at another site.
  assert '40 of them at several clients' in note and 'test rows are training rows, too' in note


def test_coarse_rows_are_not_said_to_come_twice(tmp_path):
  table = pd.DataFrame({'site': list('abc') * 40, 'x': [1, 2] * 60, 'sick': [0, 1, 1, 0] * 30})
  assert not _notes_of(tmp_path, table)


def test_rows_beyond_the_first_million_are_not_looked_at(tmp_path, monkeypatch):
  monkeypatch.setattr(leaks, 'MOST_ROWS', 1)
  monkeypatch.setattr('fl_research.importing.table_files._MOST_ROWS', 40)
  monkeypatch.setattr('fl_research.importing.table_rows._JOINED_CELLS', 1)
  late = np.where(np.arange(N) < 40, _SICK, 1 - _SICK)
  (note,) = _notes(tmp_path, code=late)
  assert 'column code alone tells sick' in note

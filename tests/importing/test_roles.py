"""What becomes of a column: guessed from its name and cells."""

import numpy as np
import pandas as pd
import pytest

from fl_research.importing import roles, survey
from fl_research.registry import UsageError

N = 60


def _surveyed(name, cells, files=1):
  column = survey.Column(name)
  for k in range(files):
    column.add(pd.Series(cells), f'{k}.csv', 0)
  return column


def _role(name, cells, files=1):
  return roles.guess(_surveyed(name, cells, files))


_DAYS = pd.date_range('2026-06-01', periods=N)
_SHUFFLED = np.random.default_rng(0).permutation(N)

GUESSES = {
  'numbers': ('weight', [1.5, 2.0] * 30, 'number'),
  'whole numbers': ('age', range(N), 'number'),
  'whole numbers that end like an id': ('covid', [1, 2, 3] * 20, 'number'),
  'numbers kept as text': ('age', ['1', '2', ' 3'] * 20, 'number'),
  'texts': ('ward', ['a', 'b', None] * 20, 'category'),
  'truth': ('smokes', [True, False, None] * 20, 'category'),
  'nothing': ('x', [None] * N, 'ignored'),
  'one value': ('country', ['PL', None] * 30, 'ignored'),
  'record ids': ('encounter_id', 1000 + _SHUFFLED, 'ignored'),
  'record ids of text': ('Fallnummer', [f'F{k}x' for k in _SHUFFLED], 'ignored'),
  'an index': ('unnamed_1', range(N), 'ignored'),
  'ids that come back': ('movieId', list(range(500, 520)) * 3, 'identifier'),
  'ids in one word': ('hospitalid', list(range(500, 520)) * 3, 'identifier'),
  'ids of text': ('drug_code_id', ['a1', 'b2', 'c3'] * 20, 'identifier'),
  'free text': ('note', [f'patient {k} was well' for k in range(N)], 'text'),
  'dates': ('visit', _DAYS.strftime('%Y-%m-%d'), 'date'),
  'German dates': ('visit', _DAYS.strftime('%d.%m.%Y'), 'date'),
  'moments': ('visit', _DAYS.strftime('%Y-%m-%dT12:30:00'), 'date'),
  'dates of a type of their own': ('visit', _DAYS, 'date'),
  'seconds': ('timestamp', _DAYS.astype('int64') // 10**9, 'date'),
  'milliseconds': ('created_at', _DAYS.astype('int64') // 10**6, 'date'),
  'dates that are whole numbers': ('visit', _DAYS.strftime('%Y%m%d').astype(int), 'date'),
  'nearly such dates': ('income', 20_260_101 + _SHUFFLED, 'number'),
  'postal codes': ('plz', [1010, 1020, 8010] * 20, 'category'),
  'codes of every row': ('zip_code', 10_000 + _SHUFFLED, 'ignored'),
  'doses': ('dose', ['10 mg', '20 mg', '40 mg'] * 20, 'category'),
  'seconds by no name': ('income', _DAYS.astype('int64') // 10**9, 'number'),
  'lists': ('signs', ['fever|cough', 'cough', 'fever', 'rash|fever'] * 15, 'category'),
}


@pytest.mark.parametrize('case', GUESSES)
def test_guesses(case):
  name, cells, role = GUESSES[case]
  found = _role(name, cells)
  assert found.role == role and found.reason


def test_formats_and_separators():
  assert _role('visit', _DAYS.strftime('%d.%m.%Y')).form == '%d.%m.%Y'
  assert _role('visit', _DAYS.strftime('%m/%d/%Y')).form == '%m/%d/%Y'
  assert _role('signs', ['a;b', 'b;c', 'c', 'b;a'] * 15).separator == ';'
  assert _role('ward', ['a', 'b'] * 30).separator is None
  doubtful = _role('visit', ['01/02/2026', '03/04/2026', '05/06/2026'] * 20)
  assert doubtful.form == '%d/%m/%Y' and 'month first would fit, too' in doubtful.reason


def test_record_ids_that_begin_anew_in_each_file():
  assert _role('plot_id', range(N), files=4).role == 'ignored'
  assert _role('plot_id', [f'P-{k:03}' for k in range(N)], files=4).role == 'ignored'
  assert _role('plot_id', list(_SHUFFLED), files=4).role == 'identifier'


def test_roles_are_said_by_name():
  text = 'movieId:identifier,note:ignore,a:b, c:date'
  assert roles.parse(text) == {
    'movieId': 'identifier', 'note': 'ignored', 'a:b, c': 'date',
  }  # fmt: skip
  assert roles.parse('') == {}


def test_said_roles():
  ages = _surveyed('age', [1.0, 2.0] * 30)
  assert roles.said(ages, 'category').role == 'category'
  assert roles.said(ages, 'ignored').reason == roles.SAID
  days = _surveyed('d', _DAYS.strftime('%d/%m/%Y'))
  assert roles.said(days, 'date').form == '%d/%m/%Y'


def test_two_kinds_in_one_column():
  column = survey.Column('age')
  column.add(pd.Series([1, 2, 3]), 'a.csv', 0)
  column.add(pd.Series(['x', 'y', 'z']), 'b.csv', 0)
  with pytest.raises(UsageError, match='column age is of kind text from row 1 on'):
    roles.agree({'age': column}, {})
  roles.agree({'age': column}, {'age': 'category'})


@pytest.mark.parametrize('form', ['{:,.2f}', '${:.0f}', '{} kg', '{:.1f}%', '{:.1f} km/h'])
def test_numbers_written_for_people_are_numbers(form):
  found = _role('income', [form.format(1000.0 * (k + 1)) for k in _SHUFFLED])
  assert found.role == 'number' and '#' in found.form and found.form in found.reason
  said = roles.said(_surveyed('dose', ['10 mg', '20 mg'] * 30), 'number')
  assert (said.role, said.form) == ('number', '#.# mg')


def test_numbers_in_several_units_are_refused():
  cells = [f'{k} kg' if k % 2 else f'{2 * k} lb' for k in _SHUFFLED]
  with pytest.raises(
    UsageError, match=r'0\.csv: column weight: .* several units \(kg, lb\).*ignore'
  ):
    _role('weight', cells)


def test_thousands_among_plain_numbers_are_numbers():
  column = _surveyed('count', [str(k) for k in range(N)] + ['1,234'])
  assert column.stray.value == '1,234'
  roles.agree({'count': column}, {})
  assert roles.guess(column).form == '#,###.#'
  column = survey.Column('count')
  column.add(pd.Series([1, 2, 3]), 'a.csv', 0)
  column.add(pd.Series(['1,234', '2,000']), 'b.csv', 0)
  roles.agree({'count': column}, {})
  assert roles.guess(column).form == '#,###.#'


@pytest.mark.parametrize('form', ['F{:06d}', '{}:3', 'room {}', '1{}.5.7'])
def test_other_texts_with_numbers_are_no_numbers(form):
  assert _role('income', [form.format(k) + '/x' for k in _SHUFFLED]).role in ('ignored', 'text')
  assert _role('income', [form.format(k) for k in _SHUFFLED]).role in ('ignored', 'text')


@pytest.mark.parametrize(
  ('name', 'of_files', 'role'),
  [
    ('site', ['H1', 'H2', 'H3'], 'ignored'),
    ('site', [1, 2, 3], 'ignored'),
    ('site_id', [7, 12, 40], 'ignored'),
    ('altitude', [7.5, 12.0, 40.0], 'number'),
    ('site', ['H1', 'H2', 'H1'], 'category'),
  ],
)
def test_a_name_of_the_file_is_no_input(name, of_files, role):
  column = survey.Column(name)
  for k, value in enumerate(of_files):
    column.add(pd.Series([value] * 5), f'{k}.csv', 0)
    column.add(pd.Series([value] * 5), f'{k}.csv', 5)
  assert roles.guess(column).role == role
  assert column.names_files == (of_files[2] != 'H1')

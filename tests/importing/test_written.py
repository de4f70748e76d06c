"""Numbers as people write them: told from words, and read."""

import numpy as np
import pandas as pd
import pytest

from fl_research.importing import written

FORMS = {
  '#,###.#': (['1,234', '567', '-1,234,567.5'], [1234, 567, -1234567.5]),
  '#.###,#': (['1.234,5', '7', '-12.000'], [1234.5, 7, -12000]),
  '# ###,#': (['1 234,5', '12 000'], [1234.5, 12000]),
  "#'###.#": (["1'234.5", '0.25'], [1234.5, 0.25]),
  '#,#': (['12,5', '1,234', '0,500'], [12.5, 1.234, 0.5]),
  '$#,###.#': (['$1,234.50', '-$3', '$ 2'], [1234.5, -3, 2]),
  'USD#.#': (['USD 12.5', 'USD 3'], [12.5, 3]),
  '#.# kg': (['12 kg', '7.5kg'], [12, 7.5]),
  '#,# kg': (['12,5 kg', '7 kg'], [12.5, 7]),
  '#.# %': (['45%', '4.5 %'], [45, 4.5]),
  '#.# km/h': (['50 km/h', '30.5 km/h'], [50, 30.5]),
  '#.# °C': (['37.5 °C', '-4 °C'], [37.5, -4]),
  '<#.#': (['> 89', '42', '<0.5', '7'], [89, 42, 0.5, 7]),
  '<#.# mg': (['<5 mg', '12 mg', '30 mg'], [5, 12, 30]),
  '#:##': (['2:05:30', '12:30', '0:00:01.5'], [7530, 750, 1.5]),
  '#h #m': (['3h 20m', '45 min', '1 hour, 5 minutes', '2d'], [12000, 2700, 3900, 172800]),
}


@pytest.mark.parametrize('form', FORMS)
def test_found_and_read(form):
  texts, numbers = FORMS[form]
  decimal = ',' if form == '#.###,#' else '.'
  assert written.find(texts, decimal) == form
  cells = pd.Series([*texts, None], dtype=object)
  np.testing.assert_allclose(written.numbers(cells, form), [*numbers, np.nan])


@pytest.mark.parametrize(
  'texts',
  [
    ['a', 'b'],
    ['1,234', 'few'],
    ['70 kg', '150 lb'],
    ['1st', '2nd'],
    ['10-19', '20-29'],
    ['1.2.3', '10.5.7'],
    ['12:75', '1:30'],
    ['<=50K', '>50K'],
    ['<18', '>65', '18'],
    ['A12', 'B13'],
    ['555-1234', '555-1235'],
    [],
  ],
)
def test_words_are_no_numbers(texts):
  assert written.find(texts) == ''


def test_a_file_with_decimal_commas_has_points_between_thousands():
  assert written.find(['1.234', '2.345 '], ',') == '#.###,#'
  assert written.find(['1,234', '2,345'], '.') == '#,###.#'


def test_units():
  assert written.units(['70 kg', '150 lb', '3']) == ['', 'kg', 'lb']
  assert written.units(['70 kg', 'heavy']) == []
  assert [written.unit(form) for form in ('$#,###.#', '#.# kg', '#:##', '#,#')] == [
    '$', 'kg', '', '',
  ]  # fmt: skip


def test_cells_of_another_form_are_no_numbers():
  cells = pd.Series(['7 lb', '7', '1,2 kg', '<7 kg', '7 kg', 7, None], dtype=object)
  np.testing.assert_array_equal(
    written.numbers(cells, '#.# kg'), [np.nan, np.nan, np.nan, np.nan, 7, 7, np.nan]
  )
  np.testing.assert_array_equal(written.numbers(pd.Series([1, 2]), '#.# kg'), [1, 2])

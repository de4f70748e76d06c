"""How a CSV is written is found out, or given."""

import gzip

import pytest

from fl_research.importing import dialect
from fl_research.importing.dialect import Given

ROWS = [('town', 'value', 'n'), ('Köln', '1.5', '1'), ('Bonn', '22.25', '2'), ('Ulm', '3.0', '3')]


def _written(separator=',', decimal='.', encoding='utf-8', header=True) -> bytes:
  rows = [separator.join(cell.replace('.', decimal) for cell in row) for row in ROWS]
  return ('\n'.join(rows if header else rows[1:]) + '\n').encode(encoding)


def _found(tmp_path, content, name='a.csv', **given):
  path = tmp_path / name
  path.write_bytes(content)
  return dialect.find_out(path, Given(**given))


@pytest.mark.parametrize('header', [True, False])
@pytest.mark.parametrize(
  'encoding, found',
  [
    ('utf-8', 'utf-8'),
    ('utf-8-sig', 'utf-8-sig'),
    ('latin-1', 'cp1252'),
    ('cp1252', 'cp1252'),
    ('utf-16', 'utf-16'),
    ('utf-16-le', 'utf-16-le'),
    ('utf-16-be', 'utf-16-be'),
  ],
)
@pytest.mark.parametrize('separator, decimal', [*zip(',;\t|', '....'), *zip(';\t|', ',,,')])
def test_found_out(tmp_path, separator, decimal, encoding, found, header):
  result = _found(tmp_path, _written(separator, decimal, encoding, header))
  names = ROWS[0] if header else ('column_1', 'column_2', 'column_3')
  assert result == dialect.Dialect(separator, decimal, found, header, names)


def test_packed(tmp_path):
  found = _found(tmp_path, gzip.compress(_written(';', ',')), 'a.csv.gz')
  assert (found.separator, found.decimal) == (';', ',')


def test_given_rather_than_found(tmp_path):
  found = _found(tmp_path, _written(';', ','), header=False, encoding='latin-1', decimal='.')
  assert not found.header and found.names[0] == 'column_1'
  assert (found.encoding, found.decimal) == ('latin-1', '.')


@pytest.mark.parametrize(
  'content, names',
  [
    (b'0,1,2\n5.5,1,2\n', ('0', '1', '2')),  # as pandas writes columns without names
    (b'5.5,1,2\n0,1,2\n', ('column_1', 'column_2', 'column_3')),
    (b'target\n0\n1\n', ('target',)),
    (b'0\n1\n', ('column_1',)),
    (b',a\n0,5\n1,6\n', ('unnamed_1', 'a')),  # as pandas writes its index
    (b' a ,"b  c"\n1,2\n', ('a', 'b c')),
  ],
)
def test_headers(tmp_path, content, names):
  assert _found(tmp_path, content).names == names


@pytest.mark.parametrize(
  'content, separator',
  [
    (b'"a,b";c\n"1,2";3\n"1";4\n', ';'),
    (b'site;x\nA, B;1,5\nC;2,5\n', ';'),
    (b'signs,label\nfever|cough,1\ncough,0\n', ','),
    (b'note,label\n"a; b; c",1\n"d",0\n', ','),
    (b'1,5;2,5\n3,5;4,5\n', ';'),
    (b'y\n1,5\n', ','),
  ],
)
def test_separators_in_doubt(tmp_path, content, separator):
  if content.startswith(b'y\n'):
    with pytest.raises(ValueError, match='line 2 has 2 of 1 fields'):
      _found(tmp_path, content)
  else:
    assert _found(tmp_path, content).separator == separator


def test_a_letter_late_in_a_large_file(tmp_path):
  lines = b'town,n\n' + b'Bonn,1\n' * 300_000
  assert _found(tmp_path, lines + 'Köln,1\n'.encode('latin-1')).encoding == 'cp1252'
  with pytest.raises(ValueError, match='line 2 is UTF-8, line 300002 is not'):
    _found(tmp_path, lines.replace(b'Bonn', 'Köln'.encode(), 1) + 'Köln,1\n'.encode('latin-1'))


def test_a_short_row_late_in_a_large_file(tmp_path):
  lines = b'town,n\n' + b'Bonn,1\n' * 300_000
  for late, told in ((b'Bonn\nBonn,1,2\n', '1'), (b'Bonn,1,2\nBonn\n', '3')):
    with pytest.raises(ValueError, match=f'line 300002 has {told} of 2 fields'):
      _found(tmp_path, lines + late + lines[7:])


def test_quoted_line_breaks_are_no_rows(tmp_path):
  assert _found(tmp_path, b'a,b\n"x\ny",1\n"z, z",2\n\n').names == ('a', 'b')


def test_in_words(tmp_path):
  found = _found(tmp_path, _written(';', ',', 'latin-1', header=False))
  assert found.words() == 'separated by semicolons, decimal comma, CP1252, no header'

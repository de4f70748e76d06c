"""How a CSV is written: compression, encoding, separator, decimal mark, header, found out or given.

A file is gone through once before pandas reads it: pandas fills short rows with nothing, and reads
bytes that are no text without a word.
"""

import bz2
import codecs
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import csv
import dataclasses
import gzip
import io
import itertools
import lzma
import os
import re
from typing import Any, IO, Optional

import numpy as np

from fl_research.datasets import files
from fl_research.datasets.federated_data import DatasetOptions
from fl_research.registry import UsageError

SEPARATORS = {',': 'commas', ';': 'semicolons', '\t': 'tabs', '|': 'bars'}
"""The separators that are found out, those in doubt last to first, and what they are called."""

_OPENERS: Mapping[str, Callable[..., Any]] = {'.gz': gzip.open, '.bz2': bz2.open, '.xz': lzma.open}
_BLOCK = 1 << 20
_SAMPLE_LINES, _SAMPLE_CHARACTERS = 500, 2_000_000
_BOMS = {
  codecs.BOM_UTF8: 'utf-8-sig',
  codecs.BOM_UTF16_LE: 'utf-16',
  codecs.BOM_UTF16_BE: 'utf-16',
}
_CONTROL = re.compile(rb'[\x00-\x08\x0e-\x1a\x1c-\x1f]')
_COMMA_NUMBER = re.compile(r'[+-]?\d*,\d+')
_THOUSANDS = re.compile(r'[+-]?\d{1,3},\d{3}')
_POINT_NUMBER = re.compile(r'[+-]?\d*\.\d+')


@dataclasses.dataclass(frozen=True)
class Given:
  """What the user says of a CSV; None is found out.

  Attributes:
    separator, decimal, encoding: as `pandas.read_csv` has them.
    header: whether the first row has the names of the columns.
    missing: texts that stand for missing values, besides pandas' own.
  """

  separator: Optional[str] = None
  decimal: Optional[str] = None
  encoding: Optional[str] = None
  header: Optional[bool] = None
  missing: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Dialect:
  """How a CSV is written.

  Attributes:
    separator, decimal, encoding: as `pandas.read_csv` has them.
    header: whether the first row has the names of the columns.
    names: the names of the columns; `column_1`, … without a header.
  """

  separator: str
  decimal: str
  encoding: str
  header: bool
  names: tuple[str, ...]

  def words(self) -> str:
    """All of it in a few words."""
    separator = SEPARATORS.get(self.separator, repr(self.separator))
    words = [] if len(self.names) == 1 else [f'separated by {separator}']
    words += ['decimal comma'] if self.decimal == ',' else []
    words += [self.encoding.removesuffix('-sig').upper()]
    words += [] if self.header else ['no header']
    return ', '.join(words)


def find_out(path: files.Path, given: Given) -> Dialect:
  """Reads through a CSV, and says how it is written.

  Raises:
    UsageError: it is no text, has two encodings, or has rows of another length than the first; one
      line with the file and the line in it.
  """
  with files.reading(path):
    encoding = given.encoding or _encoding(path)
    sample = _sample(path, encoding)
    if not sample:
      raise UsageError(f'{path}: is empty')
    separator = given.separator or _separator(sample)
    rows = [row for row in _parsed(path, sample, separator) if row]
    header = _has_header(rows) if given.header is None else given.header
    names = _names(rows[0], header)
    _check_lengths(path, encoding, separator, len(rows[0]))
  decimal = given.decimal or _decimal(rows[1 if header else 0 :], separator)
  if decimal == separator:
    raise UsageError(f'{path}: {decimal!r} cannot be both --separator and --decimal')
  return Dialect(separator, decimal, encoding, header, names)


def open_bytes(path: files.Path) -> IO[bytes]:
  """The file's content, unpacked where its name says that it is packed."""
  opener = _OPENERS.get(os.path.splitext(path)[1].lower())
  return opener(path, 'rb') if opener else open(path, 'rb')


def is_packed(path: files.Path) -> bool:
  """Whether the file's name says that it is packed."""
  return os.path.splitext(path)[1].lower() in _OPENERS


def _lines(path: files.Path, encoding: str) -> Iterator[str]:
  try:
    with io.TextIOWrapper(open_bytes(path), encoding, newline='') as stream:
      yield from stream
  except (UnicodeError, LookupError) as error:
    raise UsageError(
      f'{path}: is not {encoding} text ({files.one_line(error)}); say --encoding'
    ) from error


def _sample(path: files.Path, encoding: str) -> list[str]:
  """The first lines that are not empty, one at least, and no more of wide ones than needed."""
  sample: list[str] = []
  size = 0
  for line in _lines(path, encoding):
    sample += [line] if line.strip() else []
    size += len(line)
    if sample and (len(sample) >= _SAMPLE_LINES or size > _SAMPLE_CHARACTERS):
      break
  return sample


def _encoding(path: files.Path) -> str:
  """The encoding of the whole file: UTF-16 by its mark or its zeros, UTF-8, else cp1252."""
  with open_bytes(path) as stream:
    start = stream.read(_BLOCK)
    found = next((name for bom, name in _BOMS.items() if start.startswith(bom)), None)
    if found == 'utf-16' or _is_utf16(start):
      return found or ('utf-16-le' if start[1:2] == b'\0' else 'utf-16-be')
    blocks = itertools.chain([start], iter(lambda: stream.read(_BLOCK), b''))
    utf8, other = _lines_by_encoding(path, blocks)
  if not other:
    return found or 'utf-8'
  if utf8 or found:
    raise UsageError(
      f'{path}: two encodings: line {utf8 or 1} is UTF-8, line {other} is not; save it anew, or '
      'say --encoding'
    )
  return 'cp1252'


def _is_utf16(start: bytes) -> bool:
  """Whether every other byte is zero, as in UTF-16 without a mark at its beginning."""
  some = start[:1000]
  halves = some[0::2].count(0), some[1::2].count(0)
  return len(some) >= 4 and max(halves) > 0.4 * len(some) and min(halves) == 0


def _lines_by_encoding(path: files.Path, blocks: Iterable[bytes]) -> tuple[int, int]:
  """The first line with letters beyond ASCII that is UTF-8, and the first that is not; 0: none."""
  first = {True: 0, False: 0}
  number, rest = 0, b''
  for block in blocks:
    control = _CONTROL.search(block)
    if control:
      line = number + 1 + (rest + block).count(b'\n', 0, len(rest) + control.start())
      what = 'a NUL byte' if control[0] == b'\0' else f'the byte {control[0].hex()}'
      raise UsageError(f'{path}: line {line} has {what}; is it a text file?')
    whole, newline, tail = block.rpartition(b'\n')
    lines, rest = (rest + whole, tail) if newline else (b'', rest + block)
    if newline:
      _note_encodings(lines, number, first)
      number += lines.count(b'\n') + 1
  _note_encodings(rest, number, first)
  return first[True], first[False]


def _note_encodings(lines: bytes, before: int, first: dict[bool, int]) -> None:
  if lines.isascii() or all(first.values()):
    return
  for place, line in enumerate(lines.split(b'\n'), before + 1):
    if not line.isascii():
      first[_is_utf8(line)] = first[_is_utf8(line)] or place


def _is_utf8(line: bytes) -> bool:
  try:
    line.decode('utf-8')
  except UnicodeDecodeError:
    return False
  return True


def _separator(lines: Sequence[str]) -> str:
  """The separator with which most rows have as many fields as the first.

  Between equals a comma stands back, which may be a decimal mark.
  """

  def fit(separator: str) -> tuple[float, bool, int]:
    try:
      lengths = [len(row) for row in _split(lines, separator) if row]
    except csv.Error:  # a field that is longer than any
      return 0.0, False, 0
    several = lengths[0] > 1
    share = sum(length == lengths[0] for length in lengths) / len(lengths)
    return (share if several else 0.0), separator != ',', lengths[0]

  best = max(SEPARATORS, key=fit)
  return best if fit(best)[0] else ','


def _split(lines: Iterable[str], separator: str):
  """A `csv.reader`, which knows the number of its line."""
  return csv.reader(lines, delimiter=separator, skipinitialspace=True)


def _parsed(path: files.Path, lines: Sequence[str], separator: str) -> list[list[str]]:
  try:
    return list(_split(lines, separator))
  except csv.Error as error:
    raise UsageError(f'{path}: not readable as CSV ({files.one_line(error)})') from error


def _is_number(cell: str) -> bool:
  try:
    float(cell.replace(',', '.'))
  except ValueError:
    return False
  return True


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
  """Whether the first row has names: no numbers, or but the numbers 0, 1, 2, … of columns."""
  first = [cell.strip() for cell in rows[0]]
  numbered = len(first) > 1 and first == [str(k) for k in range(len(first))]
  return numbered or not any(_is_number(cell) for cell in first)


def _decimal(rows: Sequence[Sequence[str]], separator: str) -> str:
  cells = [cell.strip() for row in rows for cell in row]
  with_comma = [cell for cell in cells if _COMMA_NUMBER.fullmatch(cell)]
  # Between commas "1,234" is a number with thousands, of which more is said by its column.
  commas = any(separator != ',' or not _THOUSANDS.fullmatch(cell) for cell in with_comma)
  points = any(_POINT_NUMBER.fullmatch(cell) for cell in cells)
  return ',' if commas and not points else '.'


def _names(first: Sequence[str], header: bool) -> tuple[str, ...]:
  if not header:
    return tuple(f'column_{number}' for number in range(1, len(first) + 1))
  return tuple(
    ' '.join(name.split()) or f'unnamed_{number}' for number, name in enumerate(first, 1)
  )


def _check_lengths(path: files.Path, encoding: str, separator: str, width: int) -> None:
  """Refuses rows with more or fewer fields than the first."""
  if not _certainly_even(path, encoding, separator, width):
    rows = _split(_lines(path, encoding), separator)
    try:
      for row in rows:
        if row and len(row) != width and not (width == 1 and not row[0].strip()):
          raise UsageError(
            f'{path}: line {rows.line_num} has {len(row)} of {width} fields; is the file cut '
            f'short, or is --separator another{_above(width)}?'
          )
    except csv.Error as error:
      raise UsageError(f'{path}: line {rows.line_num}: {files.one_line(error)}') from error


def _above(width: int) -> str:
  return ', or are there lines above the names, which must go' if width == 1 else ''


def _certainly_even(path: files.Path, encoding: str, separator: str, width: int) -> bool:
  """Whether counting bytes shows that all rows have as many fields, which is quick.

  Not so with quotation marks, empty lines, or UTF-16.
  """
  if encoding.startswith('utf-16') or not separator.isascii():
    return False
  mark, rest = separator.encode(), b''
  with open_bytes(path) as stream:
    while block := stream.read(_BLOCK):
      whole, newline, tail = block.rpartition(b'\n')
      lines, rest = (rest + whole + newline, tail) if newline else (b'', rest + block)
      if b'"' in block or not _are_even(lines, mark, width):
        return False
  return not rest or rest.count(mark) == width - 1


def _are_even(lines: bytes, mark: bytes, width: int) -> bool:
  """Whether there are width - 1 marks before the end of each line, since the end of the last."""
  characters = np.frombuffer(lines, np.uint8)
  ends = np.flatnonzero(characters == ord('\n'))
  marks = np.flatnonzero(characters == mark[0])
  if len(marks) != len(ends) * (width - 1):
    return False
  if width == 1 or not len(ends):
    return width > 1 or b'\n\n' not in lines
  marks = marks.reshape(len(ends), width - 1)
  return bool((marks[:, -1] < ends).all() and (marks[1:, 0] > ends[:-1]).all())


def given(options: DatasetOptions) -> Given:
  """What flags say of how CSVs are written.

  Raises:
    UsageError: a flag has a value that nothing can be written with.
  """
  separator = {'tab': '\t', '\\t': '\t'}.get(options.separator or '', options.separator)
  if separator and len(separator) != 1:
    raise UsageError(f'--separator={separator}: accepted is one character, or tab')
  header = {'yes': True, 'no': False}.get(options.header or '')
  missing = tuple(text.strip() for text in (options.missing or '').split(',') if text.strip())
  return Given(separator or None, options.decimal, options.encoding, header, missing)

"""CSV files that grow by rows and survive crashes."""

import collections
from collections.abc import Iterable, Iterator, Mapping, Sequence
import contextlib
import csv
import io
import os
import pathlib
from typing import Any, NamedTuple, Optional

# A row may name all the clients that were dropped, longer than the csv module's own limit.
csv.field_size_limit(2**31 - 1)


def _text(value: Any) -> str:
  """Numbers so that they read back exactly; nothing for None and NaN."""
  if value is None or value != value:
    return ''
  if isinstance(value, (bool, str)):
    return str(value)
  return repr(value.item() if hasattr(value, 'item') else value)


def _line(values: Sequence[str]) -> str:
  buffer = io.StringIO()
  # Only characters of the line terminator are quoted: with both, every line break in a value is.
  csv.writer(buffer, lineterminator='\r\n').writerow(values)
  return buffer.getvalue().removesuffix('\r\n') + '\n'


class _Record(NamedTuple):
  """One row of a CSV file: its values, where it ends in the file, and whether it is whole."""

  values: list[str]
  end: int
  whole: bool


def _records(path: pathlib.Path) -> Iterator[_Record]:
  """The rows of a file, which may hold line breaks in quotes, up to a torn one."""
  end, whole = 0, True

  def lines() -> Iterator[str]:
    nonlocal end, whole
    with open(path, 'rb') as file:
      for line in file:
        end += len(line)
        whole = line.endswith(b'\n')
        yield line.decode(errors='replace')

  with contextlib.suppress(csv.Error):  # A row torn inside quotes.
    for values in csv.reader(lines(), strict=True):
      yield _Record(values, end, whole)


class Table:
  """A CSV file with a first column `round`, to which rows are appended.

  Opening it cuts off the rows after a given round (and a torn last line), so that a resumed run
  continues where its checkpoint stands. The columns are those of the first row.

  Args:
    path: the file.
    last_round: rows of later rounds are dropped; -1 drops all.
  """

  def __init__(self, path: pathlib.Path, last_round: int):
    self._path = path
    self._columns: Optional[list[str]] = None
    if not path.exists():
      return
    columns, rows = _whole_rows(path)
    end = 0
    for record in rows:
      if int(record.values[0]) > last_round:
        break
      end = record.end
    if not end:
      path.unlink()
      return
    self._columns = columns
    os.truncate(path, end)

  def append(self, rows: list[dict[str, Any]]) -> None:
    """Adds rows, `round` being the first column.

    They outlive this process from here on, and a crash of the machine once `sync` was called.

    Raises:
      OSError: they cannot be written; the file is cut back to what it held before.
    """
    if not rows:
      return
    columns = self._columns or list(rows[0])
    text = to_csv(columns, rows, header=not self._columns)
    size = self._path.stat().st_size if self._path.exists() else 0
    try:
      with open(self._path, 'ab') as file:
        file.write(text.encode())
    except OSError as error:
      with contextlib.suppress(OSError):
        os.truncate(self._path, size)
      error.filename = str(self._path)
      raise
    self._columns = columns

  def sync(self) -> None:
    """Brings all rows to the disk, which takes as long as many rounds of a small model.

    Raises:
      OSError: that cannot be done.
    """
    if not self._columns:
      return
    with open(self._path, 'rb') as file:
      try:
        os.fsync(file.fileno())
      except OSError as error:
        error.filename = str(self._path)
        raise


def to_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], header: bool = True) -> str:
  """Rows as CSV: numbers so that they read back exactly, nothing for None and NaN."""
  lines = [_line([_text(row.get(column)) for column in columns]) for row in rows]
  return ''.join([_line(columns), *lines] if header else lines)


def last_round(path: pathlib.Path) -> int:
  """The round of a table's last whole row; -1 when there is none."""
  return int(last_row(path).get('round', -1))


def last_row(path: pathlib.Path) -> dict[str, str]:
  """A table's last whole row as texts by column; empty when there is none."""
  if not path.exists():
    return {}
  columns, rows = _whole_rows(path)
  last = next(iter(collections.deque(rows, maxlen=1)), None)
  return dict(zip(columns, last.values)) if last else {}


def _whole_rows(path: pathlib.Path) -> tuple[list[str], Iterator[_Record]]:
  """The columns of a file, and its rows up to the first that is torn or is none."""
  records = _records(path)
  header = next(records, _Record([], 0, whole=False))

  def rows() -> Iterator[_Record]:
    for record in records:
      whole = record.whole and len(record.values) == len(header.values)
      if not header.whole or not whole or not record.values[0].isdecimal():
        return
      yield record

  return header.values, rows()

"""The rows of all tables of a file or folder, a bounded number at a time."""

from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import os
from typing import Optional

import pandas as pd

from fl_research.importing import dialect, layout, table_files
from fl_research.importing.layout import Piece
from fl_research.importing.table_files import TableFile
from fl_research.registry import UsageError

_KEPT_BYTES = 32 << 20
"""Files that are no larger together are read once, and kept."""

_PACKING = 8
"""How many times as large packed files are taken to be."""

_JOINED_CELLS = 1_000_000
"""Rows of small files are handed on together, up to here."""

_LABEL = 'label'
"""The name of a label that lies apart, without a header."""


@dataclasses.dataclass(frozen=True)
class Rows:
  """Some rows of a file.

  Attributes:
    table: the rows.
    piece: position of what they belong to among the pieces.
    path: their file.
    first: how many rows of that file come before.
  """

  table: pd.DataFrame
  piece: int
  path: str
  first: int


class Tables:
  """Tables with the same columns.

  Attributes:
    pieces: what belongs together.
    names: the columns, those of labels that lie apart last.
    apart: the columns of those labels.
    form: how the files are written, in a few words.
    decimal: their decimal mark.

  Args:
    found: the files.
    given: what the user says of how they are written.

  Raises:
    UsageError: one cannot be read, or has other columns than the first.
  """

  def __init__(self, found: layout.Layout, given: dialect.Given):
    self.pieces = found.pieces
    self._files = [table_files.open_table(piece.path, given) for piece in self.pieces]
    self._labels = [self._open_labels(piece, given) for piece in self.pieces]
    first, first_labels = self._files[0], self._labels[0]
    for file, labels in zip(self._files, self._labels):
      _check_same(first, file)
      if labels is not None and first_labels is not None:
        _check_same(first_labels, labels)
    self.apart = first_labels.names if first_labels is not None else ()
    both = [name for name in self.apart if name in first.names]
    if both:
      raise UsageError(f'{first.path}: has a column {both[0]}, as the file of its labels has')
    self.names = (*first.names, *self.apart)
    self.form = self._words()
    self.decimal = first.decimal
    self._kept: Optional[list[Rows]] = None

  @property
  def paths(self) -> list[str]:
    """All files."""
    return [file.path for file in (*self._files, *self._labels) if file is not None]

  def rows(self, columns: Sequence[str], texts: Sequence[str] = ()) -> Iterator[Rows]:
    """The rows of all pieces, piece by piece.

    Args:
      columns: which ones.
      texts: those of them that are text even where they look like numbers.
    """
    if self._kept is not None:
      yield from (dataclasses.replace(r, table=r.table[list(columns)]) for r in self._kept)
      return
    keeping = self._are_small() and set(columns) == set(self.names)
    kept = []
    for rows in self._read(columns, texts):
      if keeping:
        kept.append(rows)
      yield rows
    if keeping:
      self._kept = kept

  def _are_small(self) -> bool:
    packed = lambda path: _PACKING if dialect.is_packed(path) else 1
    return sum(os.path.getsize(path) * packed(path) for path in self.paths) <= _KEPT_BYTES

  def _read(self, columns: Sequence[str], texts: Sequence[str]) -> Iterator[Rows]:
    for number, (file, labels) in enumerate(zip(self._files, self._labels)):
      beside = None if labels is None else _all_rows(labels, columns, texts)
      # Where no column of the rows themselves is wanted, one tells how many there are.
      own = [name for name in file.names if name in set(columns)] or [file.names[0]]
      first = 0
      for table in file.chunks(own, [name for name in texts if name in own]):
        if beside is not None and labels is not None:
          table = _joined(table, beside, first, file, labels)
        yield Rows(table[list(columns)], number, file.path, first)
        first += len(table)
      if beside is not None and labels is not None and first != len(beside):
        raise _unequal(file, first, labels, len(beside))
      if not first:
        raise UsageError(f'{file.path}: has no rows; give it some, or take it away')

  def _open_labels(self, piece: Piece, given: dialect.Given) -> Optional[TableFile]:
    if piece.labels is None:
      return None
    labels = table_files.open_table(piece.labels, given)
    if labels.names == ('column_1',):
      labels.names = (_LABEL,)
    return labels

  def _words(self) -> str:
    forms = list(dict.fromkeys(file.form for file in self._files))
    count = '' if len(self._files) == 1 else f'{len(self._files)} files, '
    more = f' and {len(forms) - 1} other forms' if len(forms) > 1 else ''
    return f'{count}{forms[0]}{more}{", labels apart" if self.apart else ""}'


def joined(rows: Iterable[Rows]) -> Iterator[Rows]:
  """The same rows, those of small files together, as each call of pandas has its price."""
  waiting: list[Rows] = []
  cells = 0
  for some in rows:
    waiting.append(some)
    cells += some.table.size
    if cells >= _JOINED_CELLS:
      yield _together(waiting)
      waiting, cells = [], 0
  if waiting:
    yield _together(waiting)


def _together(rows: Sequence[Rows]) -> Rows:
  first, last = rows[0], rows[-1]
  if len(rows) == 1:
    return first
  types = {name: {some.table[name].dtype for some in rows} for name in first.table}
  # One type each: pandas warns of columns that are empty in some of the tables.
  mixed = {name: object for name, found in types.items() if len(found) > 1}
  tables = [some.table.astype(mixed) if mixed else some.table for some in rows]
  table = pd.concat(tables, ignore_index=True)
  path = first.path if first.path == last.path else f'{first.path} to {last.path}'
  return Rows(table, first.piece, path, first.first)


def _check_same(first: TableFile, other: TableFile) -> None:
  """Refuses a file with other columns than the first; their order does not matter."""
  only = [
    (a, b, [name for name in a.names if name not in set(b.names)])
    for a, b in ((other, first), (first, other))
  ]
  for a, b, names in only:
    if names:
      more = f' and {len(names) - 1} more' if len(names) > 1 else ''
      raise UsageError(f'{a.path}: has a column {names[0]}{more} that {b.path} has not')


def _all_rows(labels: TableFile, columns: Sequence[str], texts: Sequence[str]) -> pd.DataFrame:
  own = [name for name in labels.names if name in set(columns)] or [labels.names[0]]
  tables = list(labels.chunks(own, [name for name in texts if name in own]))
  return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=own)


def _joined(
  table: pd.DataFrame, labels: pd.DataFrame, first: int, file: TableFile, beside: TableFile
) -> pd.DataFrame:
  some = labels.iloc[first : first + len(table)]
  if len(some) != len(table):
    raise _unequal(file, first + len(table), beside, len(labels))
  return pd.concat([table.reset_index(drop=True), some.reset_index(drop=True)], axis=1)


def _unequal(file: TableFile, rows: int, labels: TableFile, others: int) -> UsageError:
  return UsageError(
    f'{labels.path}: has {others} rows, {file.name} {rows} or more; where a first row is no '
    'header, say --header=no'
  )

"""What makes a table easier than it is: columns that tell the label alone, rows that come twice.

Only the first million rows are looked at, which bounds time and memory.

A column tells a class where each of its values goes with one class only, at least five rows having
a value on average, or where its numbers lie in intervals, one a class, that do not meet. It tells a
number where it is a linear function of it (r² > 0.9999). An id tells a class where all of its rows
have that one, three rows having two ids on average or less: who learns the ids need not learn more.
Few rows tell nothing.
"""

from collections.abc import Iterator, Sequence
import itertools
import math
from typing import Optional

import numpy as np
import pandas as pd

from fl_research.importing import encoders, labels, values
from fl_research.importing.encoders import Encoder
from fl_research.importing.labels import Label

MOST_ROWS = 1_000_000
"""How many rows are looked at."""

_FEWEST_ROWS, _FEWEST_OF_A_CLASS = 20, 5
_ROWS_A_VALUE, _ROWS_AN_ID = 5, 1.5
_STRAIGHT = 0.9999
_COMMON, _FEW_ROWS = 0.01, 5
# Where there are less different rows than this share, tables have few values, and rows come again.
_COARSE = 0.25
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


class Watch:
  """Looks at rows as they come.

  Args:
    columns: encoders of the inputs; need not be fitted.
    label: what is predicted; need not be fitted.
  """

  def __init__(self, columns: Sequence[Encoder], label: Label):
    self._columns = columns
    self._label = label
    self._telling = [watch for column in columns for watch in _watches(column, label)]
    self._counts = np.zeros(len(label.names), np.int64)
    self._rows = 0
    self._hashes: list[np.ndarray] = []
    self._owners: list[np.ndarray] = []
    self._test: list[np.ndarray] = []

  def add(self, table: pd.DataFrame, owners: np.ndarray, test: np.ndarray) -> None:
    """Some rows, whose they are, and which are test rows."""
    if self._rows >= MOST_ROWS:
      return
    y = self._label.encode(table)
    self._rows += len(table)
    if isinstance(self._label, labels.Classes):
      self._counts += np.bincount(y, minlength=len(self._counts))
    self._telling = [watch for watch in self._telling if watch.still_tells(table, y)]
    self._hashes.append(_hashes(table, self._columns, y))
    self._owners.append(owners)
    self._test.append(test)

  def notes(self) -> Iterator[str]:
    """A line for all columns that tell the label, and one for rows that come twice."""
    names = sorted({watch.column.name for watch in self._telling if self._is_sure(watch)})
    for name in names:
      yield (
        f'column {name} alone tells {", ".join(self._label.columns)}: if it is known afterwards '
        f'only, or names what comes again, say --columns={name}:ignore'
      )
    if self._hashes:
      again = _again(*map(np.concatenate, (self._hashes, self._owners, self._test)))
      yield from [again] if again else []

  def _is_sure(self, watch: '_Tells') -> bool:
    there = self._counts[self._counts > 0]
    enough = not len(self._counts) or (len(there) > 1 and there.min() >= _FEWEST_OF_A_CLASS)
    return self._rows >= _FEWEST_ROWS and bool(enough) and watch.is_sure(self._rows)


class _Tells:
  """Whether a column tells the label, as far as has been seen."""

  def __init__(self, column: Encoder):
    self.column = column

  def still_tells(self, table: pd.DataFrame, y: np.ndarray) -> bool:
    """Whether it does so with some more rows."""
    raise NotImplementedError

  def is_sure(self, rows: int) -> bool:
    """Whether the rows were enough to say so."""
    return rows > 0


class _ByValue(_Tells):
  """Each value goes with one class."""

  def __init__(self, column: Encoder):
    super().__init__(column)
    self._class: dict[str, int] = {}

  def still_tells(self, table, y):
    codes, names = values.names(table[self.column.name], self.column.kind)
    pairs = np.unique(np.stack([codes, y]), axis=1).T.tolist()
    named = [(names[code] if code >= 0 else '', own) for code, own in pairs]
    return all(self._class.setdefault(name, own) == own for name, own in named)

  def is_sure(self, rows):
    is_id = isinstance(self.column, encoders.Identifier)
    return 1 < len(self._class) <= rows / (_ROWS_AN_ID if is_id else _ROWS_A_VALUE)


class _ByInterval(_Tells):
  """The numbers of each class lie in an interval of their own."""

  def __init__(self, column: Encoder):
    super().__init__(column)
    self._ends: dict[int, tuple[float, float]] = {}
    self._missing: set[int] = set()

  def still_tells(self, table, y):
    numbers = self.column.numbers(table[self.column.name])  # type: ignore[attr-defined]
    there = ~np.isnan(numbers)
    self._missing.update(y[~there].tolist())
    found = pd.Series(numbers[there]).groupby(y[there]).agg(['min', 'max'])
    for own, low, high in found.itertuples():
      lowest, highest = self._ends.get(own, (math.inf, -math.inf))
      self._ends[own] = min(low, lowest), max(high, highest)
    ends = sorted(self._ends.values())
    apart = all(first[1] < second[0] for first, second in itertools.pairwise(ends))
    return apart and len(self._missing) < 2

  def is_sure(self, rows):
    return len(set(self._ends) | self._missing) > 1


class _ByLine(_Tells):
  """The label is a linear function of the number."""

  def __init__(self, column: Encoder):
    super().__init__(column)
    self._shift: Optional[np.ndarray] = None
    self._sums = np.zeros(5)
    self._count = 0

  def still_tells(self, table, y):
    x = self.column.numbers(table[self.column.name])  # type: ignore[attr-defined]
    pairs = np.stack([x, y], axis=1)[~np.isnan(x)].astype(np.float64)
    if not len(pairs):
      return True
    self._shift = pairs[0] if self._shift is None else self._shift
    a, b = (pairs - self._shift).T
    self._sums += [a.sum(), b.sum(), a @ a, b @ b, a @ b]
    self._count += len(pairs)
    return self._r_squared() > _STRAIGHT or self._count < _FEWEST_ROWS

  def _r_squared(self) -> float:
    a, b, aa, bb, ab = self._sums / self._count
    spread = (aa - a * a) * (bb - b * b)
    return float((ab - a * b) ** 2 / spread) if spread > 0 else 0.0

  def is_sure(self, rows):
    return self._count >= max(_FEWEST_ROWS, rows / 2) and self._r_squared() > _STRAIGHT


def _watches(column: Encoder, label: Label) -> Iterator[_Tells]:
  numeric = isinstance(column, (encoders.Number, encoders.Date))
  if isinstance(label, labels.Classes):
    if numeric:
      yield _ByInterval(column)
    if not isinstance(column, (encoders.Date, encoders.Names)):
      yield _ByValue(column)
  elif isinstance(label, labels.Numbers) and len(label.columns) == 1 and numeric:
    yield _ByLine(column)


def _hashes(table: pd.DataFrame, columns: Sequence[Encoder], y: np.ndarray) -> np.ndarray:
  """uint64 [n]: alike for rows with the same inputs and labels, however they are written."""
  found = np.zeros(len(table), np.uint64)
  parts = [_of_column(column, table[column.name]) for column in columns]
  parts += list(y.reshape(len(y), -1).astype(np.float64).T)
  for part in parts:
    found = found * _FACTOR + pd.util.hash_array(part)
  return found


def _of_column(column: Encoder, cells: pd.Series) -> np.ndarray:
  if isinstance(column, (encoders.Number, encoders.Date)):
    return column.numbers(cells)
  if isinstance(column, encoders.Names):
    return np.array([str(cell) for cell in cells], object)
  codes, names = values.names(cells, column.kind)
  return np.array([*names, ''], object)[codes]


def _again(hashes: np.ndarray, owners: np.ndarray, test: np.ndarray) -> str:
  """A line about rows that come more than once; empty where they are few, or rows are coarse."""
  codes, different = pd.factorize(hashes)
  size = np.bincount(codes)[codes]
  twice = int((size > 1).sum())
  if twice < max(_FEW_ROWS, _COMMON * len(codes)) or len(different) < _COARSE * len(codes):
    return ''
  first = np.full(len(different), -1)
  first[codes[::-1]] = owners[::-1]
  elsewhere = np.bincount(codes, owners != first[codes], len(different)) > 0
  trained = np.bincount(codes, ~test, len(different)) > 0
  several = int(elsewhere[codes].sum())
  known = int((test & trained[codes]).sum())
  at_clients = f', {several} of them at several clients' if several else ''
  tested = f'; {known} of {int(test.sum())} test rows are training rows, too' if known else ''
  return (
    f'{twice} of {len(codes)} rows come more than once, all inputs and label alike{at_clients}'
    f'{tested}: keep each once, if they are entered twice'
  )

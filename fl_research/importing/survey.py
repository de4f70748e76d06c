"""What a table's columns hold, gathered a chunk of rows at a time."""

from collections.abc import Mapping
import dataclasses
import math
from typing import Optional

import numpy as np
import pandas as pd

from fl_research.importing import values

MOST_COUNTED = 100_000
"""Different values of a column are counted up to here."""

_LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class Place:
  """A cell, to be named in a message.

  Attributes:
    path: its file.
    row: counted from 1 below the header.
    value: what is in it.
  """

  path: str
  row: int
  value: str = ''


@dataclasses.dataclass
class Column:
  """What one column holds.

  Attributes:
    name: what the files call it.
    decimal: the files' decimal mark.
    rows, missing: counted.
    kinds: by kind of cells, where the first chunk of that kind begins.
    first_missing: the first cell without a value.
    first_beyond: the first number beyond float32.
    texts: how many cells are texts that are no numbers.
    first_text: the first of them.
    lowest, highest: of numbers.
    whole: whether all numbers are whole.
    different: its values, numbers as floats and all else by name; up to `MOST_COUNTED` of them.
    uniqueness: different values per row with a value, as far as they were counted.
    complete: whether all different values are in `different`.
    counts_rows: whether its numbers, or those at the end of its texts, go up by one row by row.
    of_files: what each file has in all its rows; None where one has two values, or none.
  """

  name: str
  decimal: str = '.'
  rows: int = 0
  missing: int = 0
  kinds: dict[str, Place] = dataclasses.field(default_factory=dict)
  first_missing: Optional[Place] = None
  first_beyond: Optional[Place] = None
  texts: int = 0
  first_text: Optional[Place] = None
  lowest: float = math.inf
  highest: float = -math.inf
  whole: bool = True
  different: set = dataclasses.field(default_factory=set)
  uniqueness: float = 0.0
  complete: bool = True
  counts_rows: bool = True
  of_files: Optional[dict[str, object]] = dataclasses.field(default_factory=dict)

  @property
  def kind(self) -> str:
    """The kind of its cells; `mixed` where files or chunks disagree."""
    kinds = set(self.kinds) - {'empty'}
    return 'mixed' if len(kinds) > 1 else next(iter(kinds), 'empty')

  @property
  def stray(self) -> Optional[Place]:
    """The first text among numbers, where most cells are numbers."""
    return self.first_text if 2 * self.texts < self.rows - self.missing else None

  @property
  def distinct(self) -> Optional[int]:
    """How many different values it has; None where nobody counted on."""
    return len(self.different) if self.complete and self.kind not in ('list', 'other') else None

  @property
  def names_files(self) -> bool:
    """Whether each of several files has one value, no two the same."""
    return self.of_files is not None and 1 < len(self.of_files) == self.distinct

  def add(self, cells: pd.Series, path: str, first_row: int) -> None:
    """Some more cells, the first of which is `first_row` (from 0) of its file."""
    place = lambda row, value='': Place(path, first_row + int(row) + 1, str(value)[:40])
    missing = cells.isna().to_numpy()
    self.rows += len(cells)
    self.missing += int(missing.sum())
    if missing.any() and self.first_missing is None:
      self.first_missing = place(np.argmax(missing))
    kind = values.kind(cells)
    found: Optional[pd.Series] = None
    if kind == 'number':
      found = pd.Series(values.numbers(cells))
    elif kind in ('text', 'truth'):
      found = _named(cells)
    if kind == 'text' and found is not None:
      found = self._numbers_or_texts(found, place)
      kind = 'text' if found.dtype == object else 'number'
    self.kinds.setdefault(kind, place(0))
    if kind == 'number' and found is not None:
      self._add_numbers(found.to_numpy(), place)
    self.counts_rows = self.counts_rows and found is not None and _count_rows(found)
    if found is not None:
      self._count(found)
    self._compare_files(found, path)

  def _numbers_or_texts(self, texts: pd.Series, place) -> pd.Series:
    """The same as numbers, where all of them are some."""
    numbers = pd.Series(values.numbers(texts))
    strays = (numbers.isna() & texts.notna()).to_numpy()
    self.texts += int(strays.sum())
    if strays.any() and self.first_text is None:
      self.first_text = place(np.argmax(strays), texts.iloc[int(np.argmax(strays))])
    return texts if strays.any() else numbers

  def _add_numbers(self, numbers: np.ndarray, place) -> None:
    beyond = np.abs(numbers) > _LARGEST
    if beyond.any() and self.first_beyond is None:
      self.first_beyond = place(np.argmax(beyond))
    present = numbers[np.isfinite(numbers)]
    if len(present):
      self.lowest = min(self.lowest, float(present.min()))
      self.highest = max(self.highest, float(present.max()))
      self.whole = self.whole and bool((present == np.floor(present)).all())

  def _compare_files(self, found: Optional[pd.Series], path: str) -> None:
    if self.of_files is None or not (found is None or len(found)):
      return
    own = [] if found is None or found.isna().any() else found.unique().tolist()
    if len(own) != 1 or self.of_files.setdefault(path, own[0]) != own[0]:
      self.of_files = None

  def _count(self, found: pd.Series) -> None:
    if not self.complete:
      return
    self.different.update(found.dropna().unique().tolist())
    filled = self.rows - self.missing
    self.uniqueness = len(self.different) / max(filled, 1)
    self.complete = len(self.different) <= MOST_COUNTED


def _named(cells: pd.Series) -> pd.Series:
  codes, names = values.names(cells)
  return pd.Series([*names, None], dtype=object).take(codes).reset_index(drop=True)


def _count_rows(found: pd.Series) -> bool:
  """Whether each number, or the one at the end of each text, is one more than the last."""
  if found.isna().any():
    return False
  if found.dtype == object:
    found = found.str.extract(r'(\d+)$')[0].astype(np.float64)
  return bool((np.diff(found) == 1).all())


def by_name(columns: Mapping[str, Column], table: pd.DataFrame, path: str, first_row: int) -> None:
  """Adds some rows of a file to the columns they belong to."""
  for name, column in columns.items():
    column.add(table[name], path, first_row)

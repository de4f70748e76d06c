"""Whose every row is, and whether it is a test row, gathered a chunk of rows at a time."""

from collections.abc import Sequence
from typing import Optional

import numpy as np

from fl_research import random_streams
from fl_research.datasets.splits import held_out_rows
from fl_research.importing import values
from fl_research.importing.layout import Piece
from fl_research.importing.source import Counts
from fl_research.importing.table_rows import Rows
from fl_research.registry import UsageError

NOBODY = 'all'
"""The one client of rows that belong to nobody."""

_TRAIN = ('train', 'training', 'fit', 'false', '0')
_TEST = ('test', 'testing', 'true', '1')


def part(word: str) -> int:
  """1 of a test row's word, 0 of a training row's, -1 of others."""
  word = word.lower()
  return 1 if word in _TEST else 0 if word in _TRAIN else -1


class RowOwners:
  """Whose the rows are.

  Clients are in the order in which they come, as are rows.

  Args:
    pieces: what the files' names say.
    client, split: columns that say it, before the names do; None without any.
  """

  def __init__(self, pieces: Sequence[Piece], client: Optional[str], split: Optional[str]):
    self._pieces = pieces
    self._client = client
    self._split = split
    self._ids: dict[str, int] = {}
    self._owners: list[np.ndarray] = []
    self._test: list[np.ndarray] = []

  def add(self, rows: Rows) -> None:
    """Some more rows.

    Raises:
      UsageError: a row has no client, or a word that is neither train nor test.
    """
    self._owners.append(self._owners_of(rows))
    test = self._divided(rows)
    if test is not None:
      self._test.append(test)

  def keep(self, rows: np.ndarray) -> None:
    """Forgets all rows but these, bool [n]."""
    self._owners = [np.concatenate(self._owners)[rows]]
    self._test = [np.concatenate(self._test)[rows]] if self._test else []

  @property
  def ids(self) -> list[str]:
    """The clients."""
    return list(self._ids)

  def owners(self) -> np.ndarray:
    """Every row's client, int32 [n]."""
    return np.concatenate(self._owners)

  def test_rows(self, seed: int, where: str) -> np.ndarray:
    """Which rows are test rows, bool [n]: as names or a column say, else drawn for each client.

    Raises:
      UsageError: none are, or all.
    """
    if self._test:
      test = np.concatenate(self._test)
      if test.all() or not test.any():
        raise UsageError(f'{where}: has no {"training" if test.all() else "test"} rows')
      return test
    test = held_out_rows(self.owners(), random_streams.generator(seed, 'tabular split'))
    if not test.any():
      who = f'--client_column={self._client}' if self._client else where
      raise UsageError(f'{who}: every client has a single row, so none is left to test on')
    return test

  def _owners_of(self, rows: Rows) -> np.ndarray:
    """The position of each row's client, new ones being added."""
    ids = self._ids
    if self._client is None:
      name = self._pieces[rows.piece].client or NOBODY
      return np.full(len(rows.table), ids.setdefault(name, len(ids)), np.int32)
    cells = rows.table[self._client]
    if cells.isna().any():
      raise UsageError(
        f'--client_column={self._client}: {int(cells.isna().sum())} of {len(cells)} rows have no '
        f'client, first in row {rows.first + int(np.argmax(cells.isna())) + 1} of {rows.path}; '
        'fill them in, or leave these rows out'
      )
    codes, names = values.names(cells)
    return np.array([ids.setdefault(name, len(ids)) for name in names], np.int32)[codes]

  def _divided(self, rows: Rows) -> Optional[np.ndarray]:
    """Which rows are test rows; None where nobody says so."""
    said = self._pieces[rows.piece].test
    if said is not None:
      return np.full(len(rows.table), said, bool)
    if self._split is None:
      return None
    codes, names = values.names(rows.table[self._split])
    words = np.array([part(name) for name in names] + [-1], np.int8)[codes]
    if (words < 0).any():
      row = int(np.argmax(words < 0))
      raise UsageError(
        f'--columns={self._split}:split: row {rows.first + row + 1} of {rows.path} says '
        f'{rows.table[self._split].iloc[row]!r}; accepted are train and test'
      )
    return words == 1


def count(ids: Sequence[str], owners: np.ndarray, test: np.ndarray) -> Counts:
  """How many training and test rows every client has."""
  of = lambda rows: np.bincount(owners[rows], minlength=len(ids)).astype(np.int64)
  return Counts(ids, of(~test), of(test))

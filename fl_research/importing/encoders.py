"""Columns of a table as positions of x: fitted to training rows, applied to any, kept as data."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np
import pandas as pd

from fl_research.importing import values, written
from fl_research.registry import UsageError

MAX_IDENTIFIERS = 1_000_000
"""Most different ids of a column."""

_SEVERAL = -1


class Encoder(abc.ABC):
  """One column, and the positions of x that it takes.

  Attributes:
    name: the column.
    kind: of its cells, as `values.kind` has it.
    width: how many positions of x it takes.
    vocabulary: of an identifier, how many ids there are; None for others.
  """

  role: str
  vocabulary: Optional[int] = None

  def __init__(self, name: str, kind: str):
    self.name = name
    self.kind = kind

  @property
  @abc.abstractmethod
  def width(self) -> int: ...

  @property
  @abc.abstractmethod
  def treatment(self) -> str:
    """What is done with the column, in a few words."""

  @abc.abstractmethod
  def fit(self, cells: pd.Series, owners: np.ndarray) -> None:
    """Takes in some training rows, and whose they are."""

  @abc.abstractmethod
  def finish(self) -> None:
    """Ends the fitting."""

  @abc.abstractmethod
  def encode(self, cells: pd.Series) -> np.ndarray:
    """The cells as float32 [n, width].

    Raises:
      UsageError: a cell is not of the column's kind.
    """

  @abc.abstractmethod
  def to_data(self) -> dict[str, Any]:
    """All that was fitted, to be written as JSON."""

  @classmethod
  @abc.abstractmethod
  def from_data(cls, data: Mapping[str, Any]) -> 'Encoder':
    """The encoder that gave this data."""

  @property
  def given_away(self) -> Sequence[tuple[str, int]]:
    """Values that one client only has, and which."""
    return ()

  def _basis(self, **fitted: Any) -> dict[str, Any]:
    return {'name': self.name, 'role': self.role, 'kind': self.kind, **fitted}


class _Scaled(Encoder):
  """A number in units of its deviation over the training rows."""

  def __init__(self, name: str, kind: str, mean: float = 0.0, deviation: float = 1.0):
    super().__init__(name, kind)
    self.mean = mean
    self.deviation = deviation
    self._scaler: Any = None

  def fit(self, cells: pd.Series, owners: np.ndarray) -> None:
    # scikit-learn takes a second to import; whoever lists data sets should not pay for it.
    from sklearn.preprocessing import StandardScaler

    numbers = self.numbers(cells)
    present = numbers[~np.isnan(numbers)]
    if len(present):
      self._scaler = self._scaler or StandardScaler()
      self._scaler.partial_fit(present[:, None])

  def finish(self) -> None:
    if self._scaler is not None:
      self.mean = float(self._scaler.mean_[0])
      self.deviation = float(self._scaler.scale_[0])

  @abc.abstractmethod
  def numbers(self, cells: pd.Series) -> np.ndarray:
    """The cells as float64 [n], NaN where missing.

    Raises:
      UsageError: a cell is no number, or no date.
    """

  def _scale(self, numbers: np.ndarray) -> np.ndarray:
    """In units of the deviation, 0 where missing, which is the mean."""
    return np.nan_to_num((numbers - self.mean) / self.deviation).astype(np.float32)


class Number(_Scaled):
  """A number, standardised; the mean where it is missing."""

  role = 'number'

  def __init__(
    self, name: str, kind: str, form: str = '', mean: float = 0.0, deviation: float = 1.0
  ):
    super().__init__(name, kind, mean, deviation)
    self.form = form

  @property
  def width(self) -> int:
    return 1

  @property
  def treatment(self) -> str:
    return 'standardised; the mean where missing'

  def encode(self, cells: pd.Series) -> np.ndarray:
    return self._scale(self.numbers(cells))[:, None]

  def numbers(self, cells: pd.Series) -> np.ndarray:
    if self.form:
      return checked(self.name, cells, written.numbers(cells, self.form), f'number ({self.form})')
    return checked(self.name, cells, values.numbers(cells), 'number')

  def to_data(self) -> dict[str, Any]:
    form = {'form': self.form} if self.form else {}
    return self._basis(**form, mean=self.mean, deviation=self.deviation)

  @classmethod
  def from_data(cls, data: Mapping[str, Any]) -> 'Number':
    form = data.get('form', '')
    return cls(data['name'], data['kind'], form, data['mean'], data['deviation'])


class Date(_Scaled):
  """A date: its day, standardised, and the sine and cosine of the time of year; 0 where missing."""

  role = 'date'

  def __init__(self, name: str, kind: str, form: str, mean: float = 0.0, deviation: float = 1.0):
    super().__init__(name, kind, mean, deviation)
    self.form = form

  @property
  def width(self) -> int:
    return 3

  @property
  def treatment(self) -> str:
    return 'its day standardised, sine and cosine of the time of year'

  def encode(self, cells: pd.Series) -> np.ndarray:
    days = self.numbers(cells)
    angle = 2 * np.pi * days / 365.2425
    year = np.nan_to_num(np.stack([np.sin(angle), np.cos(angle)], axis=1))
    return np.concatenate([self._scale(days)[:, None], year.astype(np.float32)], axis=1)

  def numbers(self, cells: pd.Series) -> np.ndarray:
    return checked(self.name, cells, values.days(cells, self.form), f'date ({self.form})')

  def to_data(self) -> dict[str, Any]:
    return self._basis(form=self.form, mean=self.mean, deviation=self.deviation)

  @classmethod
  def from_data(cls, data: Mapping[str, Any]) -> 'Date':
    return cls(data['name'], data['kind'], data['form'], data['mean'], data['deviation'])


class Tally:
  """How often names occur, and with which one client where it is but one."""

  def __init__(self) -> None:
    self.counts: dict[str, int] = {}
    self.owners: dict[str, int] = {}

  def add(self, codes: np.ndarray, names: Sequence[str], owners: np.ndarray) -> None:
    """Adds names [n] by their codes, below 0 where missing, and whose they are [n]."""
    there = codes >= 0
    table = pd.DataFrame({'code': codes[there], 'owner': owners[there]}).groupby('code')['owner']
    found = table.agg(['size', 'min', 'max'])
    for code, size, low, high in found.itertuples():
      name = names[code]
      self.counts[name] = self.counts.get(name, 0) + int(size)
      owner = int(low) if low == high else _SEVERAL
      self.owners[name] = owner if self.owners.get(name, owner) == owner else _SEVERAL

  def alone(self) -> list[tuple[str, int]]:
    """Names that one client only has."""
    return sorted((name, owner) for name, owner in self.owners.items() if owner != _SEVERAL)


class Category(Encoder):
  """A position for each value: 1 at the row's own, 0 at the others; all 0 for a value unseen.

  Where it is missing, the value that most training rows have.

  Attributes:
    tally: how often each occurs in the rows it was fitted to.
  """

  role = 'category'

  def __init__(self, name: str, kind: str, categories: Sequence[str] = (), usual: str = ''):
    super().__init__(name, kind)
    self.categories = list(categories)
    self.usual = usual
    self.tally = Tally()

  @property
  def width(self) -> int:
    return len(self.categories)

  @property
  def treatment(self) -> str:
    return f'{self.width} positions, one a value; {self.usual!r} where missing, none where unseen'

  def fit(self, cells: pd.Series, owners: np.ndarray) -> None:
    self.tally.add(*values.names(cells, self.kind), owners)

  def finish(self) -> None:
    counts = self.tally.counts
    self.categories = sorted_names(counts)
    self.usual = max(self.categories, key=lambda name: counts[name], default='')

  @property
  def given_away(self) -> Sequence[tuple[str, int]]:
    return self.tally.alone()

  def encode(self, cells: pd.Series) -> np.ndarray:
    codes, names = values.names(cells, self.kind)
    known = pd.Index(self.categories, dtype=object)
    positions = known.get_indexer([*names, self.usual])
    hot = np.zeros((len(positions), self.width), np.float32)
    hot[positions >= 0, positions[positions >= 0]] = 1
    return hot[codes]  # the code of what is missing, -1, is the usual value's row

  def to_data(self) -> dict[str, Any]:
    return self._basis(categories=self.categories, usual=self.usual)

  @classmethod
  def from_data(cls, data: Mapping[str, Any]) -> 'Category':
    return cls(data['name'], data['kind'], data['categories'], data['usual'])


class Names(Encoder):
  """A position for each name that lists have: 1 at those in the row's own list.

  Attributes:
    tally: how often each occurs in the rows it was fitted to.
  """

  role = 'category'

  def __init__(self, name: str, kind: str, separator: str, categories: Sequence[str] = ()):
    super().__init__(name, kind)
    self.separator = separator
    self.categories = list(categories)
    self.tally = Tally()

  @property
  def width(self) -> int:
    return len(self.categories)

  @property
  def treatment(self) -> str:
    return f'{self.width} positions, one a name in a list; none where missing or unseen'

  def fit(self, cells: pd.Series, owners: np.ndarray) -> None:
    codes, lists = values.lists(cells, self.separator or None)
    _add_lists(self.tally, codes, lists, owners)

  def finish(self) -> None:
    self.categories = sorted_names(self.tally.counts)

  @property
  def given_away(self) -> Sequence[tuple[str, int]]:
    return self.tally.alone()

  def encode(self, cells: pd.Series) -> np.ndarray:
    return multi_hot(cells, self.separator, self.categories)

  def to_data(self) -> dict[str, Any]:
    return self._basis(separator=self.separator, categories=self.categories)

  @classmethod
  def from_data(cls, data: Mapping[str, Any]) -> 'Names':
    return cls(data['name'], data['kind'], data['separator'], data['categories'])


class Identifier(Encoder):
  """One position with the id's number, 0 for an unknown one, to be embedded."""

  role = 'identifier'

  def __init__(self, name: str, kind: str, ids: Sequence[str] = ()):
    super().__init__(name, kind)
    self.ids = list(ids)
    self._seen: set[str] = set()

  @property
  def width(self) -> int:
    return 1

  @property
  def vocabulary(self) -> int:  # type: ignore[override]
    return len(self.ids) + 1

  @property
  def treatment(self) -> str:
    return f'the number of one of {len(self.ids)} ids, to be embedded; 0 where missing or unseen'

  def fit(self, cells: pd.Series, owners: np.ndarray) -> None:
    self._seen.update(values.names(cells, self.kind)[1])
    if len(self._seen) > MAX_IDENTIFIERS:
      raise UsageError(
        f'column {self.name}: more than {MAX_IDENTIFIERS} ids; say --columns={self.name}:ignore'
      )

  def finish(self) -> None:
    self.ids = sorted_names(self._seen)

  def encode(self, cells: pd.Series) -> np.ndarray:
    codes, names = values.names(cells, self.kind)
    numbers = pd.Index(self.ids, dtype=object).get_indexer([*names, '']) + 1
    numbers[-1] = 0
    return numbers[codes].astype(np.float32)[:, None]

  def to_data(self) -> dict[str, Any]:
    return self._basis(ids=self.ids)

  @classmethod
  def from_data(cls, data: Mapping[str, Any]) -> 'Identifier':
    return cls(data['name'], data['kind'], data['ids'])


def from_data(data: Mapping[str, Any]) -> Encoder:
  """The encoder whose `to_data` gave this."""
  if data['role'] == Names.role and 'separator' in data:
    return Names.from_data(data)
  known: Sequence[type[Encoder]] = (Number, Date, Category, Identifier)
  return next(encoder for encoder in known if encoder.role == data['role']).from_data(data)


def multi_hot(cells: pd.Series, separator: str, names: Sequence[str]) -> np.ndarray:
  """Lists as float32 [n, names]: 1 at the names that are in the row's list."""
  codes, lists = values.lists(cells, separator or None)
  place = {name: position for position, name in enumerate(names)}
  hot = np.zeros((len(lists) + 1, len(names)), np.float32)
  for row, found in enumerate(lists):
    hot[row, [place[name] for name in found if name in place]] = 1
  return hot[codes]


def sorted_names(names) -> list[str]:
  """Names in order: by number where all are numbers, else by letters."""
  try:
    numbers = {name: float(name) for name in names}
  except ValueError:
    return sorted(names)
  return sorted(numbers, key=lambda name: (numbers[name], name))


def _add_lists(
  tally: Tally, codes: np.ndarray, lists: Sequence[Sequence[str]], owners: np.ndarray
) -> None:
  lengths = np.array([len(found) for found in lists] + [0])[codes]
  flat, names = pd.factorize(np.array([n for found in lists for n in found], dtype=object))
  starts = np.cumsum([0] + [len(found) for found in lists])
  pieces = [flat[starts[code] : starts[code + 1]] for code in codes if code >= 0]
  if pieces:
    tally.add(np.concatenate(pieces), list(names), np.repeat(owners, lengths))


def checked(name: str, cells: pd.Series, numbers: np.ndarray, what: str) -> np.ndarray:
  """Numbers of cells, NaN where missing.

  Raises:
    UsageError: something stands in a cell that could not be read, or that is infinite.
  """
  wrong = (np.isnan(numbers) & cells.notna().to_numpy()) | np.isinf(numbers)
  if wrong.any():
    row = int(np.argmax(wrong))
    raise UsageError(f'column {name}: row {row + 1} holds {str(cells.iloc[row])[:40]!r}, no {what}')
  return numbers

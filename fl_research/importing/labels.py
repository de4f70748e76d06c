"""Columns of a table as labels: what is predicted, y, and a model's answers in the table's words.

- Two distinct values, of any kind: binary; the larger (numbers) or alphabetically later (text,
  False/True) of them is 1.
- Text, or whole numbers with at most 20 distinct values: classification, classes in sorted order.
- Any other numbers, also such as `$1,234`: regression, in their own units; several columns of them
  likewise.
- Lists of names in a column, or several columns of 0 and 1: multi-label, a tag for each.

`--columns=stars:number` makes a regression of whole numbers, `:category` classes of any.
"""

import abc
from collections.abc import Mapping, Sequence
import types
from typing import Any, Optional

import numpy as np
import pandas as pd

from fl_research.datasets.federated_data import LabelScale, Problem
from fl_research.importing import encoders, roles, survey, values, written
from fl_research.registry import UsageError

MAX_CLASSES = 20
"""Most distinct whole numbers that still count as classes."""


class Label(abc.ABC):
  """What is predicted.

  Attributes:
    columns: where it is in a table.
    problem, num_classes: as in `FederatedData`.
    names: of classes or tags, in the order of their numbers.
    scale: the unit of numbers, once they are fitted.
  """

  columns: tuple[str, ...]
  problem: Problem
  names: tuple[str, ...] = ()
  scale: Optional[LabelScale] = None

  @property
  def num_classes(self) -> int:
    return len(self.names)

  @property
  @abc.abstractmethod
  def words(self) -> str:
    """What is predicted, in a few words."""

  @property
  def y_shape(self) -> tuple[int, ...]:
    """Shape of one example's y."""
    return ()

  @property
  def y_dtype(self) -> np.dtype:
    return np.dtype(np.int32)

  def fit(self, table: pd.DataFrame, train: np.ndarray) -> None:
    """Takes in some rows, of which `train` [n] says whether they are training rows."""
    del table, train

  def fitted(self) -> 'Label':
    """The label with what it has learnt from the rows it was given."""
    return self

  @abc.abstractmethod
  def encode(self, table: pd.DataFrame) -> np.ndarray:
    """The labels of some rows."""

  @abc.abstractmethod
  def answers(self, y: np.ndarray) -> pd.DataFrame:
    """What y stands for, in columns as the table has them.

    Args:
      y: as `encode` gives it: numbers of classes [n], tags 0 or 1 [n, k], numbers.
    """

  @abc.abstractmethod
  def to_data(self) -> dict[str, Any]:
    """All of it, to be written as JSON."""


class Classes(Label):
  """One of several classes, or of two."""

  def __init__(self, column: str, kind: str, names: Sequence[str]):
    self.columns = (column,)
    self.kind = kind
    self.names = tuple(names)
    self.problem = Problem.BINARY if len(names) == 2 else Problem.CLASSIFICATION

  @property
  def words(self) -> str:
    return f'{len(self.names)} classes'

  def encode(self, table: pd.DataFrame) -> np.ndarray:
    codes, names = values.names(table[self.columns[0]], self.kind)
    numbers = pd.Index(self.names, dtype=object).get_indexer(names)
    found = np.append(numbers, -1)[codes]
    if (found < 0).any():
      row = int(np.argmax(found < 0))
      raise UsageError(
        f'column {self.columns[0]}: row {row + 1} holds {table[self.columns[0]].iloc[row]!r}, none '
        'of the classes'
      )
    return found.astype(np.int32)

  def answers(self, y: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({self.columns[0]: np.asarray(self.names, object)[np.asarray(y, np.int64)]})

  def to_data(self) -> dict[str, Any]:
    data = {'form': 'classes', 'column': self.columns[0], 'kind': self.kind}
    return {**data, 'names': list(self.names)}


class TagList(Label):
  """Several tags at once, listed in one column."""

  problem = Problem.MULTILABEL

  def __init__(self, column: str, separator: str, names: Sequence[str]):
    self.columns = (column,)
    self.separator = separator
    self.names = tuple(names)
    self._seen: set[str] = set()

  @property
  def words(self) -> str:
    return f'lists of {len(self.names)} tags'

  @property
  def y_shape(self) -> tuple[int, ...]:
    return (len(self.names),)

  @property
  def y_dtype(self) -> np.dtype:
    return np.dtype(np.float32)

  def fit(self, table: pd.DataFrame, train: np.ndarray) -> None:
    # Of test rows, too: how many tags there are must not depend on the split.
    _, lists = values.lists(table[self.columns[0]], self.separator or None)
    self._seen.update(name for found in lists for name in found)

  def fitted(self) -> Label:
    return TagList(self.columns[0], self.separator, encoders.sorted_names(self._seen))

  def encode(self, table: pd.DataFrame) -> np.ndarray:
    return encoders.multi_hot(table[self.columns[0]], self.separator, self.names)

  def answers(self, y: np.ndarray) -> pd.DataFrame:
    rows = [[name for name, there in zip(self.names, row) if there] for row in np.asarray(y)]
    return pd.DataFrame({self.columns[0]: [(self.separator or '|').join(row) for row in rows]})

  def to_data(self) -> dict[str, Any]:
    data = {'form': 'list', 'column': self.columns[0], 'separator': self.separator}
    return {**data, 'names': list(self.names)}


class TagColumns(Label):
  """Several tags at once, a column of 0 and 1 each."""

  problem = Problem.MULTILABEL

  def __init__(self, columns: Sequence[str]):
    self.columns = self.names = tuple(columns)

  @property
  def words(self) -> str:
    return f'{len(self.names)} tags'

  @property
  def y_shape(self) -> tuple[int, ...]:
    return (len(self.names),)

  @property
  def y_dtype(self) -> np.dtype:
    return np.dtype(np.float32)

  def encode(self, table: pd.DataFrame) -> np.ndarray:
    columns = [values.numbers(table[name]) for name in self.columns]
    return np.stack(columns, axis=1).astype(np.float32)

  def answers(self, y: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(np.asarray(y).astype(np.int64), columns=list(self.columns))

  def to_data(self) -> dict[str, Any]:
    return {'form': 'tags', 'columns': list(self.columns)}


class Numbers(Label):
  """One or several numbers, in their own units.

  Args:
    columns: where they are.
    scale: their unit, once they are fitted.
    forms: how those are written that are texts, by column, as `written` has it.
  """

  problem = Problem.REGRESSION

  def __init__(
    self,
    columns: Sequence[str],
    scale: Optional[LabelScale] = None,
    forms: Mapping[str, str] = types.MappingProxyType({}),
  ):
    self.columns = tuple(columns)
    self.scale = scale
    self.forms = dict(forms)
    self._scaler: Any = None

  @property
  def num_classes(self) -> int:
    return 1

  @property
  def words(self) -> str:
    return 'a number' if len(self.columns) == 1 else f'{len(self.columns)} numbers'

  @property
  def y_shape(self) -> tuple[int, ...]:
    return () if len(self.columns) == 1 else (len(self.columns),)

  @property
  def y_dtype(self) -> np.dtype:
    return np.dtype(np.float32)

  def fit(self, table: pd.DataFrame, train: np.ndarray) -> None:
    # scikit-learn takes a second to import; whoever lists data sets should not pay for it.
    from sklearn.preprocessing import StandardScaler

    self._scaler = self._scaler or StandardScaler()
    if train.any():
      self._scaler.partial_fit(self.numbers(table[train]))

  def fitted(self) -> Label:
    mean = self._scaler.mean_.astype(np.float32).reshape(self.y_shape)
    deviation = self._scaler.scale_.astype(np.float32).reshape(self.y_shape)
    return Numbers(self.columns, LabelScale(mean, deviation, self.columns), self.forms)

  def numbers(self, table: pd.DataFrame) -> np.ndarray:
    """The labels of some rows, float64 [n, columns].

    Raises:
      UsageError: one is no number.
    """
    return np.stack([self._column(name, table[name]) for name in self.columns], axis=1)

  def _column(self, name: str, cells: pd.Series) -> np.ndarray:
    form = self.forms.get(name)
    found = written.numbers(cells, form) if form else values.numbers(cells)
    return encoders.checked(name, cells, found, f'number ({form})' if form else 'number')

  def encode(self, table: pd.DataFrame) -> np.ndarray:
    found = self.numbers(table)
    if np.isnan(found).any():
      row = int(np.argmax(np.isnan(found).any(axis=1)))
      raise UsageError(f'row {row + 1} has no label ({", ".join(self.columns)}); leave it out')
    return found.astype(np.float32).reshape(len(table), *self.y_shape)

  def answers(self, y: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
      np.reshape(np.asarray(y, np.float32), (-1, len(self.columns))), columns=list(self.columns)
    )

  def to_data(self) -> dict[str, Any]:
    scale = self.scale
    if scale is None:
      raise ValueError('these labels were not fitted')
    units = {'mean': scale.mean.tolist(), 'deviation': scale.deviation.tolist()}
    forms = {'forms': self.forms} if self.forms else {}
    return {'form': 'numbers', 'columns': list(self.columns), **forms, **units}


def from_data(data: Mapping[str, Any]) -> Label:
  """The label whose `to_data` gave this."""
  if data['form'] == 'classes':
    return Classes(data['column'], data['kind'], data['names'])
  if data['form'] == 'list':
    return TagList(data['column'], data['separator'], data['names'])
  if data['form'] == 'tags':
    return TagColumns(data['columns'])
  mean, deviation = (np.asarray(data[key], np.float32) for key in ('mean', 'deviation'))
  scale = LabelScale(mean, deviation, tuple(data['columns']))
  return Numbers(data['columns'], scale, data.get('forms', {}))


def choose(
  columns: Sequence[survey.Column], said: Mapping[str, str], is_part: bool = False
) -> Label:
  """What these columns are as labels, by the rule of the module's docstring.

  Args:
    columns: what was found in them.
    said: roles that `--columns` gives, `number` and `category` being read.
    is_part: whether there are rows elsewhere, so that here may be but one class.

  Raises:
    UsageError: they are no labels; one line that names the column and, where it can, the row.
  """
  for column in columns:
    _check(column, said, is_part)
  if len(columns) > 1:
    return _several(columns)
  (column,) = columns
  role = said.get(column.name)
  if _is_list(column, said):
    return TagList(column.name, roles.list_separator(column) or '', ())
  forms = _forms([column])
  numeric = column.kind == 'number' or bool(forms)
  if numeric and (role == 'number' or (column.distinct != 2 and not _few(column) and not role)):
    return Numbers([column.name], forms=forms)
  return _classes(column, role)


def _forms(columns: Sequence[survey.Column]) -> dict[str, str]:
  """How the numbers of those columns are written that are texts."""
  found = {c.name: roles.written_form(c) for c in columns if c.kind in ('text', 'mixed')}
  return {name: form for name, form in found.items() if form}


def _is_list(column: survey.Column, said: Mapping[str, str]) -> bool:
  listed = roles.list_separator(column) is not None and said.get(column.name) != 'category'
  return column.kind == 'list' or (column.kind == 'text' and listed)


def _few(column: survey.Column) -> bool:
  return column.whole and column.distinct is not None and column.distinct <= MAX_CLASSES


def _several(columns: Sequence[survey.Column]) -> Label:
  names = [column.name for column in columns]
  if all(column.kind == 'truth' or column.different <= {0.0, 1.0} for column in columns):
    return TagColumns(names)
  forms = _forms(columns)
  other = next((c for c in columns if c.kind != 'number' and c.name not in forms), None)
  if other is not None:
    raise UsageError(
      f'--label_column={",".join(names)}: column {other.name} is of kind {other.kind}; several '
      'labels are numbers, or tags of 0 and 1'
    )
  return Numbers(names, forms=forms)


def _classes(column: survey.Column, said: Optional[str] = None) -> Classes:
  flag = f'--label_column={column.name}'
  if column.kind not in ('number', 'text', 'truth'):
    raise UsageError(f'{flag}: its cells are of kind {column.kind}, no labels')
  distinct = len(column.different)
  if column.kind == 'text' and distinct > 2 and said != 'category' and roles.is_date(column):
    raise UsageError(
      f'{flag}: holds dates, which are no labels; predict a number, or say '
      f'--columns={column.name}:category'
    )
  if not column.complete or (column.kind == 'text' and distinct > max(2, column.rows / 2)):
    many = f'{survey.MOST_COUNTED} or more' if not column.complete else distinct
    raise UsageError(
      f'{flag}: {many} different values in {column.rows} rows are no classes; is it an id?'
    )
  _, names = values.names(pd.Series(list(column.different), dtype=object))
  _check_spelling(flag, names)
  return Classes(column.name, column.kind, encoders.sorted_names(names))


def _check_spelling(flag: str, names: Sequence[str]) -> None:
  """Refuses classes that differ but in capitals, as sites may write them."""
  seen: dict[str, str] = {}
  for name in sorted(names):
    other = seen.setdefault(name.casefold(), name)
    if other != name:
      raise UsageError(f'{flag}: classes {other!r} and {name!r}; write them alike')


def _check(column: survey.Column, said: Mapping[str, str], is_part: bool) -> None:
  flag = f'--label_column={column.name}'
  if column.first_missing and 2 * column.missing > column.rows and not _is_list(column, said):
    raise UsageError(
      f'{flag}: {column.missing} of {column.rows} rows have no label, first in row '
      f'{column.first_missing.row} of {column.first_missing.path}; fill them in, or leave these '
      'rows out'
    )
  if column.first_beyond is not None:
    raise UsageError(
      f'{flag}: row {column.first_beyond.row} of {column.first_beyond.path} holds a number beyond '
      'float32'
    )
  if column.distinct == 1 and not is_part:
    (value,) = column.different
    raise UsageError(f'{flag}: every row has the same label, {value!r}; nothing to learn')

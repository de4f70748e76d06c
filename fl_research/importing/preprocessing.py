"""What a table's values become on their way to x and y, and a model's answers on their way back.

It is data: `to_data` gives lists, numbers and texts, to be kept as JSON with a run, and `from_data`
makes the same of it again. New rows are a DataFrame with the columns that the files had, in any
order and of any types that pandas reads them as.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fl_research import registry
from fl_research.datasets.federated_data import InputColumn
from fl_research.importing import encoders, labels
from fl_research.importing.encoders import Encoder
from fl_research.importing.labels import Label
from fl_research.registry import UsageError

_FORM = 'table'


class Preprocessing:
  """Columns as positions of x, a column or several as y.

  Attributes:
    columns: the encoders, in the order of their positions.
    label: what is predicted.
  """

  def __init__(self, columns: Sequence[Encoder], label: Label):
    self.columns = tuple(columns)
    self.label = label

  @property
  def inputs(self) -> tuple[InputColumn, ...]:
    """Which positions of x came from which column."""
    stops = np.cumsum([column.width for column in self.columns]).tolist()
    return tuple(
      InputColumn(column.name, stop - column.width, stop, column.vocabulary)
      for column, stop in zip(self.columns, stops)
    )

  @property
  def width(self) -> int:
    """Length of x."""
    return sum(column.width for column in self.columns)

  @property
  def names(self) -> list[str]:
    """The columns that `transform` reads."""
    return [column.name for column in self.columns]

  @property
  def texts(self) -> list[str]:
    """Those of them that a reader must leave as text, even where they look like numbers."""
    return [column.name for column in self.columns if column.kind == 'text']

  def transform(self, table: pd.DataFrame) -> np.ndarray:
    """Rows as x, float32 [n, d].

    Raises:
      UsageError: a column is missing, or a cell cannot be read; one line that names it.
    """
    x = np.empty((len(table), self.width), np.float32)
    for column, place in zip(self.columns, self.inputs):
      _check_there(column.name, table)
      x[:, place.start : place.stop] = column.encode(table[column.name])
    return x

  def labels(self, table: pd.DataFrame) -> np.ndarray:
    """The labels of rows: y.

    Raises:
      UsageError: a label's column is missing, or a cell is none.
    """
    for name in self.label.columns:
      _check_there(name, table)
    return self.label.encode(table)

  def answers(self, y: np.ndarray) -> pd.DataFrame:
    """A model's answers in the table's words: names of classes, tags, numbers in own units.

    Args:
      y: as labels are: numbers of classes [n], tags 0 or 1 [n, k], numbers [n] or [n, k].
    """
    return self.label.answers(y)

  def to_data(self) -> dict[str, Any]:
    """All of it as lists, numbers and texts."""
    columns = [column.to_data() for column in self.columns]
    return {'form': _FORM, 'columns': columns, 'label': self.label.to_data()}

  @classmethod
  def from_data(cls, data: Mapping[str, Any]) -> 'Preprocessing':
    """The preprocessing whose `to_data` gave this, possibly by way of JSON.

    Raises:
      UsageError: it is that of no table.
    """
    if data.get('form') != _FORM:
      raise UsageError(f'preprocessing of the form {data.get("form")!r} is that of no table')
    columns = [encoders.from_data(column) for column in data['columns']]
    return cls(columns, labels.from_data(data['label']))


def _check_there(column: str, table: pd.DataFrame) -> None:
  if column not in table.columns:
    names = list(map(str, table.columns))
    hint = registry.suggestion(column, names)
    raise UsageError(f'there is no column {column}{hint}; there are {", ".join(names)}')

"""The user's own table: a CSV (commas) or Parquet file with a client and a label column.

`--data_file=patients.csv --client_column=hospital --label_column=sick`. Every other column is a
feature; a client is a distinct value of the client column, in order of first appearance.

Label:
- two distinct values, of any kind: binary; the larger (numbers) or alphabetically later (text,
  False/True) of them is 1;
- text, or whole numbers with at most 20 distinct values: classification, classes in sorted order;
- any other numbers: regression, in their own units.

Features, float32 [d]: numbers (also numbers kept as text) are standardised; text and truth values
get one position per distinct value, at most 100 of them. Missing numbers become the median, missing
text the most frequent value. Medians, most frequent values, means and deviations are those of the
training rows of all clients together; the list of a column's distinct values is the whole file's,
so that the model's size does not depend on the seed. A column with one value, or none, tells
nothing: it is dropped with a warning.

Split: a fifth of each client's rows (at least one), drawn from the seed, is the client's test part;
a client of one row only trains. Row numbers in messages count from 1 below the header.
"""

from collections.abc import Sequence
import os
from typing import Optional, Union

from absl import logging
import numpy as np
import pandas as pd

from fl_research import random_streams, registry
from fl_research.datasets import files
from fl_research.datasets.features import encode_table
from fl_research.datasets.federated_data import (
  DatasetOptions,
  FederatedData,
  Problem,
)
from fl_research.datasets.splits import clients_by_owner, held_out_rows
from fl_research.registry import UsageError

MAX_CLASSES = 20
"""Most distinct whole numbers that still count as classes."""

MAX_CATEGORIES = 100
"""Most distinct texts of a feature."""

_PARQUET_MAGIC = b'PAR1'


def load(options: DatasetOptions) -> FederatedData:
  """Reads the table `options.data_file` by client; also reads `options.seed`.

  Raises:
    UsageError: the file, one of the two columns or a value cannot be used; one line that names the
      flag and the column or row.
  """
  data_file = _given('--data_file', options.data_file)
  table = _read(data_file)
  client_column = _column(table, '--client_column', options.client_column, data_file)
  label_column = _column(table, '--label_column', options.label_column, data_file)
  if client_column == label_column:
    raise UsageError(f'--label_column={label_column}: is also the --client_column')
  ids, owner = _owners(table[client_column])
  problem, num_classes, y = _labels(table[label_column])
  test_rows = held_out_rows(owner, random_streams.generator(options.seed, 'tabular split'))
  if not test_rows.any():
    raise UsageError(
      f'--client_column={client_column}: every client has a single row, so none is left to test on'
    )
  x = _features(table.drop(columns=[client_column, label_column]), ~test_rows, data_file)
  train, test = (
    clients_by_owner({'x': x[rows], 'y': y[rows]}, owner[rows], ids)
    for rows in (~test_rows, test_rows)
  )
  return FederatedData(
    train=train,
    test=test.pooled(),
    problem=problem,
    num_classes=num_classes,
    test_clients=test,
    sources={os.path.basename(data_file): files.sha256_of(data_file)},
  )


def _given(flag: str, value: Optional[str]) -> str:
  if not value:
    raise UsageError(
      f'{flag} is missing: a table needs --data_file, --client_column and --label_column'
    )
  return value


def _read(data_file: str) -> pd.DataFrame:
  """The file as a table with at least one row."""
  if not os.path.isfile(data_file):
    what = 'is a folder, not a table' if os.path.isdir(data_file) else 'no such file'
    raise UsageError(f'--data_file={data_file}: {what}')
  try:
    with open(data_file, 'rb') as stream:
      parquet = stream.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC
    # low_memory=False: otherwise a column's type may change from one chunk to the next.
    table = pd.read_parquet(data_file) if parquet else pd.read_csv(data_file, low_memory=False)
  except Exception as error:  # damaged bytes make the parsers raise nearly anything
    raise UsageError(
      f'--data_file={data_file}: not readable as CSV or Parquet ({files.one_line(error)})'
    ) from error
  if not isinstance(table.index, pd.RangeIndex):
    table = table.reset_index()
  if table.empty:
    raise UsageError(f'--data_file={data_file}: has no rows')
  table.columns = pd.Index([' '.join(str(name).split()) for name in table.columns])
  return table


def _column(table: pd.DataFrame, flag: str, name: Optional[str], data_file: str) -> str:
  name = _given(flag, name)
  columns = list(table.columns)
  if columns.count(name) == 1:
    return name
  if name in columns:
    raise UsageError(f'{flag}={name}: {columns.count(name)} columns of {data_file} have this name')
  hint = registry.suggestion(name, columns)
  raise UsageError(f'{flag}={name}: no such column{hint}; {data_file} has {_listed(columns)}')


def _listed(names: Sequence[str], most: int = 30) -> str:
  shown = ', '.join(names[:most])
  return shown if len(names) <= most else f'{shown} and {len(names) - most} more'


def _owners(column: pd.Series) -> tuple[list[str], np.ndarray]:
  """Client ids in order of first appearance, and the position of each row's client."""
  _refuse_missing(column, f'--client_column={column.name}', 'client')
  numbers = _as_numbers(column)
  if numbers is not None and _are_whole(numbers):
    column = numbers.astype(np.int64)
  owner, ids = pd.factorize(column.astype(str))
  return list(ids), owner


def _labels(column: pd.Series) -> tuple[Problem, int, np.ndarray]:
  """Problem, number of classes and labels, by the rule of the module's docstring."""
  flag = f'--label_column={column.name}'
  _refuse_missing(column, flag, 'label')
  numbers = _as_numbers(column)
  if numbers is None:
    _refuse_mixture(column, flag)
  else:
    _refuse_infinite(numbers, flag)
  values, codes = np.unique(
    (column.astype(str) if numbers is None else numbers).to_numpy(), return_inverse=True
  )
  if len(values) == 1:
    raise UsageError(f'{flag}: every row has the same label, {column.iloc[0]!r}; nothing to learn')
  if len(values) == 2:
    return Problem.BINARY, 2, codes.astype(np.int32)
  if numbers is None:
    if len(values) > len(column) / 2:
      raise UsageError(
        f'{flag}: {len(values)} different texts in {len(column)} rows are no classes; is it an id?'
      )
    return Problem.CLASSIFICATION, len(values), codes.astype(np.int32)
  if _are_whole(numbers) and len(values) <= MAX_CLASSES:
    return Problem.CLASSIFICATION, len(values), codes.astype(np.int32)
  return Problem.REGRESSION, 1, numbers.to_numpy(np.float32)


def _features(table: pd.DataFrame, train_rows: np.ndarray, data_file: str) -> np.ndarray:
  """All columns as feature vectors, by the rule of the module's docstring."""
  where = f'--data_file={data_file}'
  if not table.columns.is_unique:
    raise UsageError(
      f'{where}: several columns are named {table.columns[table.columns.duplicated()][0]}'
    )
  columns = {name: _feature(column, f'{where}: column {name}') for name, column in table.items()}
  distinct = {name: column.dropna().unique() for name, column in columns.items()}
  useful = [name for name in columns if len(distinct[name]) >= 2]
  if not useful:
    raise UsageError(f'{where}: no column besides client and label takes two values')
  if len(useful) < len(columns):
    dropped = [name for name in columns if name not in useful]
    logging.warning('%s: dropped, having one value or none: %s', data_file, _listed(dropped))
  numeric = [name for name in useful if columns[name].dtype == np.float64]
  categories = {name: sorted(distinct[name]) for name in useful if name not in numeric}
  return encode_table(pd.DataFrame(columns), train_rows, numeric, categories)


def _feature(column: pd.Series, where: str) -> pd.Series:
  """A feature as float64 or as text, with NaN where it is missing."""
  numbers = _as_numbers(column)
  if numbers is None:
    return _texts(column, where)
  _refuse_infinite(numbers, where)
  return numbers


def _texts(column: pd.Series, where: str) -> pd.Series:
  kinds = {type(value).__name__ for value in column.dropna()}
  if not kinds <= {'str', 'bool', 'bool_', 'int', 'float'}:
    raise UsageError(
      f'{where} holds values of type {", ".join(sorted(kinds))}; make numbers or text of them, or '
      'remove it'
    )
  _refuse_mixture(column, where)
  texts = column.astype(str).astype(object).where(column.notna(), np.nan)
  if texts.nunique() > MAX_CATEGORIES:
    raise UsageError(
      f'{where} has {texts.nunique()} different texts, more than {MAX_CATEGORIES}; group or remove '
      'them'
    )
  return texts


def _as_numbers(column: pd.Series) -> Optional[pd.Series]:
  """The column as float64, NaN where missing; None when something in it is no number."""
  if pd.api.types.infer_dtype(column, skipna=True) in ('boolean', 'datetime64', 'timedelta64'):
    return None
  numbers = _parsed(column)
  return None if numbers is None or (numbers.isna() & column.notna()).any() else numbers


def _parsed(column: pd.Series) -> Optional[pd.Series]:
  """Numbers where they can be read, NaN elsewhere; None for values that are not even text."""
  try:
    return pd.to_numeric(column, errors='coerce').astype(np.float64)
  except (TypeError, ValueError):
    return None


def _refuse_mixture(column: pd.Series, where: str) -> None:
  """Refuses a column of numbers with a stray text in it, which is a slip and no category."""
  numbers = _parsed(column)
  if numbers is None:
    return
  garbage = numbers.isna() & column.notna()
  if 0 < 2 * garbage.sum() < column.notna().sum():
    value = str(column[garbage].iloc[0])
    raise UsageError(f'{where}: {_first_row(garbage)} holds {value[:40]!r} among numbers')


def _refuse_infinite(numbers: pd.Series, where: str) -> None:
  beyond = numbers.abs() > np.finfo(np.float32).max
  if beyond.any():
    raise UsageError(f'{where}: {_first_row(beyond)} holds a number beyond float32')


def _are_whole(numbers: pd.Series) -> bool:
  return bool((np.isfinite(numbers) & (numbers == np.floor(numbers))).all())


def _refuse_missing(column: pd.Series, flag: str, what: str) -> None:
  missing = column.isna()
  if missing.any():
    raise UsageError(
      f'{flag}: {int(missing.sum())} of {len(column)} rows have no {what}, first in '
      f'{_first_row(missing)}'
    )


def _first_row(rows: Union[pd.Series, np.ndarray]) -> str:
  return f'row {int(np.argmax(np.asarray(rows))) + 1}'

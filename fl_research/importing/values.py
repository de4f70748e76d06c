"""Cells as numbers, names, days or lists, whatever types a reader made of them.

A *kind* says what the cells of a column are: number, text, truth (true and false), date (of a type
of its own), list (ditto), empty.
"""

from collections.abc import Sequence
from typing import Optional

import numpy as np
import pandas as pd

DATE_FORMATS = (
  'ISO8601',
  '%d.%m.%Y',
  '%d.%m.%Y %H:%M',
  '%d.%m.%Y %H:%M:%S',
  '%d.%m.%y',
  '%d/%m/%Y',
  '%m/%d/%Y',
  '%d/%m/%Y %H:%M',
  '%m/%d/%Y %H:%M',
  '%d/%m/%Y %H:%M:%S',
  '%m/%d/%Y %H:%M:%S',
  '%m/%d/%Y %I:%M %p',
  '%m/%d/%Y %I:%M:%S %p',
  '%d/%m/%y',
  '%m/%d/%y',
  '%Y/%m/%d',
  '%Y/%m/%d %H:%M:%S',
  '%d-%m-%Y',
  '%d-%b-%Y',
  '%d %b %Y',
  '%b %d, %Y',
  '%d %B %Y',
  '%B %d, %Y',
)
"""Ways of writing a date, those first that are taken where several fit."""

COMPACT = 'YYYYMMDD'
"""Dates that are whole numbers: 20260131."""

EPOCH_SECONDS, EPOCH_MILLISECONDS = 'epoch seconds', 'epoch milliseconds'
"""Dates that are numbers: since the beginning of 1970."""

SECONDS_OF = {EPOCH_SECONDS: 1.0, EPOCH_MILLISECONDS: 1e-3}
"""The unit of each of these in seconds."""

_DAY = 86_400.0


def kind(column: pd.Series) -> str:
  """The kind of a column's cells, `other` where there is none for them."""
  if not column.notna().any():
    return 'empty'
  if pd.api.types.is_bool_dtype(column):
    return 'truth'
  if pd.api.types.is_numeric_dtype(column):
    return 'number'
  if pd.api.types.is_datetime64_any_dtype(column):
    return 'date'
  inferred = pd.api.types.infer_dtype(column, skipna=True)
  if inferred == 'categorical':
    inferred = pd.api.types.infer_dtype(column.cat.categories)
  if inferred == 'boolean':
    return 'truth'
  if inferred in ('date', 'datetime', 'datetime64'):
    return 'date'
  if inferred in ('integer', 'floating', 'decimal', 'mixed-integer-float'):
    return 'number'
  if inferred in ('string', 'mixed-integer'):
    return 'text'
  some = column.dropna().iloc[0]
  return 'list' if isinstance(some, (list, tuple, np.ndarray)) else 'other'


def numbers(column: pd.Series) -> np.ndarray:
  """The cells as float64 [n], NaN where there is no number."""
  if pd.api.types.is_numeric_dtype(column):
    return column.to_numpy(np.float64, na_value=np.nan)
  # Numbers kept as text, possibly with a decimal comma that another reader has left.
  return pd.to_numeric(column, errors='coerce').to_numpy(np.float64, na_value=np.nan)


def names(column: pd.Series, kind: str = '') -> tuple[np.ndarray, list[str]]:
  """The cells as names: int [n], -1 where missing, into names, of which two may be alike.

  A number has one name, whether it was read as 1, 1.0 or, where the column's kind is number, '1'.
  """
  as_text = kind == 'number' and not pd.api.types.is_numeric_dtype(column)
  codes, uniques = pd.factorize(pd.Series(numbers(column)) if as_text else column)
  return codes, [_name(value) for value in uniques]


def days(column: pd.Series, form: str) -> np.ndarray:
  """The cells as days since the beginning of 1970, float64 [n], NaN where there is no date.

  Args:
    column: the cells.
    form: one of `DATE_FORMATS`, `COMPACT` or `EPOCH_…`; types that are dates anyway do not need it.
  """
  if form == COMPACT and not pd.api.types.is_datetime64_any_dtype(column):
    return _compact_days(numbers(column))
  if form in SECONDS_OF and not pd.api.types.is_datetime64_any_dtype(column):
    return numbers(column) * SECONDS_OF[form] / _DAY
  codes, uniques = pd.factorize(column)
  index = pd.Series(list(uniques))
  moments = _dates(index, form) if kind(index) != 'date' else pd.to_datetime(index, utc=True)
  seconds = (moments - pd.Timestamp(0, tz='UTC')).dt.total_seconds().to_numpy(np.float64)
  return np.append(seconds / _DAY, np.nan)[codes]


def _compact_days(written: np.ndarray) -> np.ndarray:
  there = np.nan_to_num(written).astype(np.int64)
  parts = {'year': there // 10_000, 'month': there // 100 % 100, 'day': there % 100}
  moments = pd.to_datetime(pd.DataFrame(parts), errors='coerce')
  return ((moments - pd.Timestamp(0)).dt.total_seconds() / _DAY).to_numpy(np.float64)


def date_formats(texts: Sequence[str]) -> list[str]:
  """The formats of `DATE_FORMATS` that all the texts have."""
  column = pd.Series(list(texts), dtype=object)
  return [form for form in DATE_FORMATS if _dates(column, form).notna().all()]


def lists(column: pd.Series, separator: Optional[str]) -> tuple[np.ndarray, list[list[str]]]:
  """The cells as lists of names: int [n], -1 where missing, into lists.

  Args:
    column: texts, or lists already.
    separator: between the names in a text; None where they are lists.
  """
  if separator is not None:
    codes, texts = names(column)
    return codes, [[p.strip() for p in text.split(separator) if p.strip()] for text in texts]
  missing = column.isna().to_numpy()
  filled = [[_name(value) for value in cell] for cell in column[~missing]]
  codes = np.where(missing, -1, np.cumsum(~missing) - 1)
  return codes, filled


def _dates(column: pd.Series, form: str) -> pd.Series:
  return pd.to_datetime(column, format=form, errors='coerce', utc=True)


def _name(value) -> str:
  if isinstance(value, str):
    return ' '.join(value.split())
  if isinstance(value, (float, np.floating)):
    number = float(value)
    return str(int(number)) if number.is_integer() else str(number)
  return str(value)

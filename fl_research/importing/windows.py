"""Windows of a time series in a table: rows of a client, so many of them an example.

`--window_length=50 --window_stride=25`: x is float32 [50, channels], every column of numbers but
the client's, the label's and the time's being a channel, standardised by the training rows of all
clients together. A window lies within one client, and with `--time_column` within a stretch
without a gap (rows are sorted by it then; more than two usual steps are a gap); a row without a
value is a gap too. The label is that of most rows (`majority`) or of the last.

The last fifth of each client's windows is its test part, and training windows that share rows with
them are left out. The table is held in memory, the windows are not.
"""

from collections.abc import Iterator, Mapping
import os
from typing import Any, NamedTuple, Optional

import numpy as np
import pandas as pd

from fl_research import registry
from fl_research.datasets import files
from fl_research.datasets.federated_data import DatasetOptions, LabelScale, Problem
from fl_research.datasets.splits import held_out_counts
from fl_research.importing import dialect, memory, table_files
from fl_research.importing.source import ColumnFound, Counts, Found, Part, Source, Spec
from fl_research.registry import UsageError

_MOST_CLASSES = 20
_GAP = 2.0
_WINDOWS_AT_ONCE = 1024


def load(options: DatasetOptions) -> memory.Data:
  """Reads the windows of the table `options.data_file` into memory."""
  return memory.read(open_source(options))


def open_source(options: DatasetOptions) -> Source:
  """The windows of the table `options.data_file`.

  Raises:
    UsageError: a column is missing or unusable, or no client has a window; one line.
  """
  return _Windows(options)


class _Window(NamedTuple):
  """Where windows start, row by row, and which are for testing."""

  client: np.ndarray
  start: np.ndarray
  test: np.ndarray


class _Windows(Source):
  """The windows of a table."""

  def __init__(self, options: DatasetOptions):
    path = options.data_file or ''
    self._length = options.window_length or 0
    if self._length < 2:
      raise UsageError('--window_length is missing: so many rows make an example')
    stride = options.window_stride or max(1, self._length // 2)
    table, file = _table(path, dialect.given(options), options.client_column)
    client = _column(table, 'client_column', options.client_column, path)
    label = _column(table, 'label_column', options.label_column, path)
    time = options.time_column and _column(table, 'time_column', options.time_column, path)
    names = [name for name in (client, label, time) if name]
    if len(set(names)) < len(names):
      raise UsageError(f'--label_column={label}: is also the client or the time; name another')
    order, owner, ids, seconds = _in_order(table, client, time)
    table = table.iloc[order].reset_index(drop=True)
    channels, left = _channels(table.drop(columns=names), path)
    values = table[channels].to_numpy(np.float32)
    self._labels, classes, problem = _labels(table[label], label)
    complete = np.isfinite(values).all(axis=1) & ~np.isnan(self._labels)
    segments = _segments(owner, seconds, complete)
    windows = _windows(segments, owner, self._length, stride)
    if not len(windows.start):
      longest = max((last - first for first, last in segments), default=0)
      raise UsageError(
        f'--window_length={self._length}: no client has so many rows in a stretch without a gap; '
        f'the longest has {longest}'
      )
    windows = _hold_out(windows, len(ids), self._length)
    self._windows = windows
    self._rule = options.window_label or ('last' if problem is Problem.REGRESSION else 'majority')
    if self._rule == 'majority' and problem is Problem.REGRESSION:
      raise UsageError('--window_label=majority: the label is a number; accepted is last')
    used = _rows_of(windows, self._length, len(values))
    mean = values[used].mean(axis=0, dtype=np.float64)
    deviation = values[used].std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = 1.0
    self._values = ((values - mean) / deviation).astype(np.float32)
    count = lambda test: np.bincount(
      windows.client[windows.test == test], minlength=len(ids)
    ).astype(np.int64)
    self.counts = Counts(ids, count(False), count(True))
    whole = problem is not Problem.REGRESSION
    scale = None
    if not whole:
      own = self._labels[windows.start[~windows.test] + self._length - 1]
      spread = np.asarray(own.std() or 1.0, np.float32)
      scale = LabelScale(np.asarray(own.mean(), np.float32), spread)
    self.spec = Spec(
      (self._length, len(channels)),
      np.dtype(np.float32),
      (),
      np.dtype(np.int32 if whole else np.float32),
      problem,
      len(classes) if whole else 1,
      label_scale=scale,
    )
    self.files = {os.path.basename(path): files.sha256_of(path)}
    self.preprocessing = {
      'kind': 'windows', 'channels': channels, 'mean': mean, 'deviation': deviation,
      'length': self._length, 'stride': stride, 'label': self._rule, 'classes': list(classes),
      'client_column': client, 'time_column': time or None,
    }  # fmt: skip
    words = f'{len(classes)} classes' if whole else 'a number'
    self.found = Found(
      form=f'time series, {file.form}: windows of {self._length} rows, one every {stride}',
      clients=f'column {client}',
      label=f'column {label}, {words}, of a window: {self._rule}',
      classes=classes,
      columns=_columns_found(table, client, label, time, channels, left),
      notes=[
        f'{len(segments)} stretches of rows without a gap',
        *([f'{int((~complete).sum())} rows without a value are gaps'] * (not complete.all())),
        "the last fifth of each client's windows is its test part",
      ],
    )

  def parts(self) -> Iterator[Part]:
    windows = self._windows
    key = windows.client * 2 + windows.test
    order = np.argsort(key, kind='stable')
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    for first, last in zip(starts, [*starts[1:], len(order)]):
      for start in range(first, last, _WINDOWS_AT_ONCE):
        chosen = order[start : min(start + _WINDOWS_AT_ONCE, last)]
        rows = windows.start[chosen, None] + np.arange(self._length)
        y = self._label_of(self._labels[rows]).astype(self.spec.y_dtype)
        examples = {'x': self._values[rows], 'y': y}
        yield Part(int(windows.client[chosen[0]]), bool(windows.test[chosen[0]]), examples)

  def _label_of(self, rows: np.ndarray) -> np.ndarray:
    if self._rule == 'last':
      return rows[:, -1]
    counts = np.stack([(rows == k).sum(axis=1) for k in range(self.spec.num_classes)], axis=1)
    return counts.argmax(axis=1)


def new_windows(
  how: Mapping[str, Any], path: str, given: dialect.Given
) -> Iterator[tuple[pd.DataFrame, np.ndarray]]:
  """Windows to be asked about, some at a time: whose and where they are, and x as a run had it.

  Args:
    how: the run's `preprocessing`.
    path: a table with the run's channels; without its client column all rows are one client's.
    given: what the user says of a CSV.

  Raises:
    UsageError: a channel is missing, or no client has a window.
  """
  client, time, length = how['client_column'], how['time_column'], how['length']
  table, _ = _table(path, given, client)
  if client not in table:
    table[client] = 'all'
  for name in (*how['channels'], *([time] if time else [])):
    if name not in table:
      raise UsageError(f'--data_file={path}: has no column {name}, which the run was trained with')
  order, owner, ids, seconds = _in_order(table, client, time)
  numbers = table[how['channels']].apply(pd.to_numeric, errors='coerce').to_numpy(np.float32)
  values = ((numbers[order] - how['mean']) / how['deviation']).astype(np.float32)
  segments = _segments(owner, seconds, np.isfinite(values).all(axis=1))
  windows = _windows(segments, owner, length, how['stride'])
  if not len(windows.start):
    raise UsageError(
      f'--data_file={path}: no client has {length} rows, a window, in a stretch without a gap'
    )
  for first in range(0, len(windows.start), _WINDOWS_AT_ONCE):
    start = windows.start[first : first + _WINDOWS_AT_ONCE]
    told = {'row': order[start] + 1, client: [ids[k] for k in owner[start]]}
    yield pd.DataFrame(told), values[start[:, None] + np.arange(length)]


def _table(
  path: str, given: dialect.Given, client: Optional[str]
) -> tuple[pd.DataFrame, table_files.TableFile]:
  """All rows; clients as they are written."""
  if not os.path.isfile(path):
    what = 'is a folder, not a table' if os.path.isdir(path) else 'no such file'
    raise UsageError(f'--data_file={path}: {what}; windows are made of one table')
  file = table_files.open_table(path, given)
  texts = [name for name in file.names if name == client]
  parts = list(file.chunks(file.names, texts))
  if not parts or not sum(map(len, parts)):
    raise UsageError(f'--data_file={path}: has no rows')
  return pd.concat(parts, ignore_index=True), file


def _column(table: pd.DataFrame, flag: str, name: Optional[str], path: str) -> str:
  if not name:
    raise UsageError(f'--{flag} is missing: windows need --client_column and --label_column')
  columns = [str(column) for column in table.columns]
  if name not in columns:
    hint = registry.suggestion(name, columns)
    raise UsageError(f'--{flag}={name}: no such column{hint}; {path} has {", ".join(columns[:30])}')
  return name


def _in_order(
  table: pd.DataFrame, client: str, time: Optional[str]
) -> tuple[np.ndarray, np.ndarray, list[str], Optional[np.ndarray]]:
  """Rows in the order of client and time; whose each is then, the clients, and the times."""
  if table[client].isna().any():
    missing = int(np.argmax(table[client].isna())) + 1
    raise UsageError(f'--client_column={client}: row {missing} has no client')
  owner, ids = pd.factorize(table[client].astype(str))
  seconds = _seconds(table[time], time) if time else None
  keys = (owner,) if seconds is None else (seconds, owner)
  order = np.lexsort(keys)
  in_order = None if seconds is None else seconds[order]
  return order, owner[order], list(ids), in_order


def _seconds(column: pd.Series, name: str) -> np.ndarray:
  numbers = pd.to_numeric(column, errors='coerce')
  if pd.api.types.is_datetime64_any_dtype(column) or numbers.isna().all():
    dates = pd.to_datetime(column, errors='coerce', format='mixed', utc=True)
    numbers = pd.Series(dates.astype('int64') / 1e9).where(dates.notna())
  if numbers.isna().any():
    row = int(np.argmax(numbers.isna())) + 1
    raise UsageError(f'--time_column={name}: row {row} holds {column.iloc[row - 1]!r}, not a time')
  return numbers.to_numpy(np.float64)


def _channels(table: pd.DataFrame, path: str) -> tuple[list[str], list[str]]:
  """The columns of numbers, and the others, which are left out."""
  numbers = [str(name) for name in table.columns if pd.api.types.is_numeric_dtype(table[name])]
  if not numbers:
    raise UsageError(f'--data_file={path}: no column of numbers beside client, label and time')
  return numbers, [str(name) for name in table.columns if name not in numbers]


def _labels(column: pd.Series, name: str) -> tuple[np.ndarray, list[str], Problem]:
  """float64 labels, NaN where there is none; names of the classes; the problem."""
  present = column.dropna()
  if present.nunique() < 2:
    raise UsageError(f'--label_column={name}: every row has the same label; nothing to learn')
  is_number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
  whole = is_number and bool((present == np.floor(present)).all())
  few = present.nunique() == 2 or (whole and present.nunique() <= _MOST_CLASSES)
  if is_number and not few:
    return column.to_numpy(np.float64), [], Problem.REGRESSION
  if not is_number and present.nunique() > len(present) / 2:
    raise UsageError(
      f'--label_column={name}: {present.nunique()} different texts in {len(present)} rows are no '
      'classes'
    )
  values = np.unique(present.to_numpy() if is_number else present.astype(str).to_numpy())
  codes = pd.Categorical(column if is_number else column.astype(str).where(column.notna()), values)
  labels = np.where(codes.codes < 0, np.nan, codes.codes)
  classes = [f'{value:g}' if is_number else str(value) for value in values]
  return labels, classes, Problem.BINARY if len(values) == 2 else Problem.CLASSIFICATION


def _segments(
  owner: np.ndarray, seconds: Optional[np.ndarray], complete: np.ndarray
) -> list[tuple[int, int]]:
  """First row, and row after the last, of every stretch of one client without a gap."""
  breaks = np.diff(owner) != 0
  if seconds is not None:
    steps = np.diff(seconds)
    within = steps[~breaks & (steps > 0)]
    if len(within):
      breaks |= steps > _GAP * np.median(within)
  starts = np.flatnonzero(np.concatenate([[True], breaks | (np.diff(complete.astype(int)) != 0)]))
  ends = [*starts[1:], len(owner)]
  return [(int(s), int(e)) for s, e in zip(starts, ends) if complete[s]]


def _windows(
  segments: list[tuple[int, int]], owner: np.ndarray, length: int, stride: int
) -> _Window:
  starts = [np.arange(first, last - length + 1, stride) for first, last in segments]
  start = np.concatenate([np.zeros(0, np.int64), *starts]).astype(np.int64)
  return _Window(owner[start], start, np.zeros(len(start), bool))


def _hold_out(windows: _Window, num_clients: int, length: int) -> _Window:
  """Marks the last fifth of each client's windows, and leaves out what shares rows with them."""
  sizes = np.bincount(windows.client, minlength=num_clients)
  held = held_out_counts(sizes)
  # Windows lie client by client, in order.
  offsets = np.cumsum(sizes) - sizes
  rank = np.arange(len(windows.client)) - offsets[windows.client]
  test = rank >= (sizes - held)[windows.client]
  first = np.full(num_clients, np.iinfo(np.int64).max)
  np.minimum.at(first, windows.client[test], windows.start[test])
  keep = test | (windows.start + length <= first[windows.client])
  return _Window(windows.client[keep], windows.start[keep], test[keep])


def _rows_of(windows: _Window, length: int, count: int) -> np.ndarray:
  """bool [rows]: what training windows read."""
  changes = np.zeros(count + 1, np.int64)
  starts = windows.start[~windows.test]
  np.add.at(changes, starts, 1)
  np.add.at(changes, starts + length, -1)
  rows = np.cumsum(changes)[:-1] > 0
  return rows if rows.any() else np.ones(count, bool)


def _columns_found(table, client, label, time, channels, left) -> list[ColumnFound]:
  roles = {client: ('client', 'by --client_column', 'whose a row is')}
  roles[label] = ('label', 'by --label_column', 'what is predicted')
  if time:
    roles[time] = ('date', 'by --time_column', 'rows are sorted by it, gaps found')
  roles |= {name: ('number', 'holds numbers', 'a channel, standardised') for name in channels}
  roles |= {name: ('ignored', 'holds no numbers', 'left out') for name in left}
  return [
    ColumnFound(str(name), *roles[str(name)], missing=int(table[name].isna().sum()))
    for name in table.columns
  ]

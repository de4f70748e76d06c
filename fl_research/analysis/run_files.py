"""The files of runs as tables: settings, measurements, facts and the clients' last rows.

Files with the same columns are joined as text and parsed in one go, which makes ten thousand runs a
matter of seconds. What cannot be read ends in one line that names the file and its row.
"""

from collections.abc import Iterable, Mapping, Sequence
import csv
import hashlib
import io
import json
import pathlib
import re
from typing import Any, Optional

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.csv

from fl_research.registry import UsageError

METRICS, HPARAMS, CLIENTS, MANIFEST = 'metrics.csv', 'hparams.csv', 'clients.csv', 'manifest.json'
FACTS = (
  'path',
  'finished',
  'diverged',
  'last_round',
  'seconds',
  'parameters',
  'commit',
  'data',
  'partition',
)
"""What `read_facts` gives."""

TEXT_COLUMNS = frozenset({'rejected_clients'})
"""Columns of metrics.csv that are not numbers."""

COUNTS = (
  'cohort_size',
  'cohort_examples',
  'participants',
  'stragglers',
  'dropouts',
  'rejected',
  'bytes_down',
  'bytes_up',
  'bytes_up_uncompressed',
)
"""Columns of metrics.csv that are whole numbers; empty before the first round."""

RENAMED = {'dropped': 'rejected', 'dropped_clients': 'rejected_clients'}
"""Columns that runs before November 2026 called otherwise."""

_CLIENT_COLUMNS = ('round', 'client_id', 'phase', 'num_examples', 'metric', 'value')
_NO_NUMBER = re.compile(r'CSV column #(\d+): Row #(\d+): CSV conversion error to \w+: (.*)')
_TORN_ROW = re.compile(r'Row #(\d+): Expected (\d+) columns, got (\d+)')


def read_settings(folders: Sequence[pathlib.Path], names: Sequence[str]) -> pd.DataFrame:
  """`Runs.settings`: hparams.csv of each folder, the rows called by the names.

  Raises:
    UsageError: one is missing, or is not one row of flags and one of values.
  """
  rows = [_settings_row(folder / HPARAMS) for folder in folders]
  columns = dict.fromkeys(name for row in rows for name in row)
  typed = {column: _typed([row.get(column, '') for row in rows]) for column in columns}
  return pd.DataFrame(typed, index=pd.Index(names, name='run'))


def _settings_row(path: pathlib.Path) -> dict[str, str]:
  try:
    rows = list(csv.reader(io.StringIO(path.read_text(), newline='')))
  except FileNotFoundError as error:
    raise UsageError(f'{path}: missing; without it nothing is known of the run') from error
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise UsageError(f'{path}: cannot be read ({error})') from error
  if len(rows) != 2 or len(rows[0]) != len(rows[1]):
    raise UsageError(f'{path}: is not one row of flags and one of their values (half-written?)')
  return dict(zip(*rows))


def _typed(texts: list[str]) -> list[Any]:
  """Texts as the narrowest type that all of them have; None for empty ones."""
  unique = set(texts) - {''}
  if unique and unique <= {'True', 'False'}:
    convert: Any = lambda text: text == 'True'
  else:
    convert = next((kind for kind in (int, float) if _all(kind, unique)), str)
  values = {text: convert(text) for text in unique}
  return [values.get(text) for text in texts]


def _all(kind: type, texts: Iterable[str]) -> bool:
  try:
    for text in texts:
      kind(text)
  except ValueError:
    return False
  return True


class _Sheet:
  """A metrics.csv as bytes: its header, and the rows that are whole."""

  def __init__(self, path: pathlib.Path):
    self.path = path
    content = path.read_bytes()
    self.header, _, rows = content.partition(b'\n')
    whole = rows.rfind(b'\n') + 1
    self.rows, self.torn = rows[:whole], whole < len(rows)
    if not self.rows:
      raise UsageError(f'{path}: has no row yet')

  @property
  def quoted(self) -> bool:
    """Whether a value may hold a line break."""
    return b'"' in self.rows or b'"' in self.header

  def columns(self) -> list[str]:
    try:
      names = next(csv.reader([self.header.decode()]))
    except (UnicodeDecodeError, csv.Error, StopIteration) as error:
      raise UsageError(f'{self.path}: its first line names no columns') from error
    if 'round' not in names:
      raise UsageError(f'{self.path}: has no column round')
    if len(set(names)) < len(names):
      raise UsageError(f'{self.path}: has a column twice')
    return [RENAMED.get(name, name) for name in names]

  def parse(self, kept: Optional[Sequence[str]]) -> pyarrow.Table:
    try:
      return _parse(self.columns(), [self.rows], kept, newlines=self.quoted, alone=True)
    except pyarrow.ArrowInvalid as error:
      raise UsageError(f'{self.path}: {_complaint(error)}') from error


def _complaint(error: pyarrow.ArrowInvalid) -> str:
  """What is wrong with a CSV, in one line."""
  torn = _TORN_ROW.search(str(error))
  if torn:
    row, expected, got = torn.groups()
    return f'row {row} has {got} values for {expected} columns (half-written?)'
  wrong = _NO_NUMBER.search(str(error))
  if wrong:
    column, row, reason = wrong.groups()
    return f'row {row}, column {int(column) + 1}: {reason}'
  return str(error).splitlines()[0]


def _parse(
  names: Sequence[str],
  rows: Sequence[bytes],
  kept: Optional[Sequence[str]],
  newlines: bool = False,
  alone: bool = False,
) -> pyarrow.Table:
  """The rows of one or more files with the same columns; alone, errors tell the row."""
  types = {name: pyarrow.string() if name in TEXT_COLUMNS else pyarrow.float64() for name in names}
  wanted = None if kept is None else ['round', *(n for n in kept if n in names and n != 'round')]
  return pyarrow.csv.read_csv(
    pyarrow.py_buffer(b''.join(rows)),
    pyarrow.csv.ReadOptions(use_threads=not alone, column_names=list(names), block_size=1 << 24),
    pyarrow.csv.ParseOptions(newlines_in_values=newlines),
    pyarrow.csv.ConvertOptions(column_types=types, include_columns=wanted),
  )


def read_metrics(
  folders: Sequence[pathlib.Path], names: Sequence[str], kept: Optional[Sequence[str]]
) -> tuple[pd.DataFrame, list[str]]:
  """`Runs.metrics` and `Runs.notes`: every metrics.csv, of its columns those kept, all when None.

  Raises:
    UsageError: one cannot be understood; which row, and why.
  """
  sheets = [_Sheet(folder / METRICS) for folder in folders]
  notes = [f'{s.path}: its last row is torn and was left out' for s in sheets if s.torn]
  batches: dict[Any, list[int]] = {}
  for position, sheet in enumerate(sheets):
    # A sheet with quotes is parsed alone: how many rows it has is not how many lines.
    batches.setdefault((sheet.header, position if sheet.quoted else None), []).append(position)
  tables, owners = [], []
  for positions in batches.values():
    table, counts = _parse_batch([sheets[position] for position in positions], kept)
    tables.append(table)
    owners.append(np.repeat(positions, counts))
  table = pyarrow.concat_tables(tables, promote_options='default').to_pandas()
  del tables, sheets
  owner = np.concatenate(owners)
  table.insert(0, 'run', pd.Categorical.from_codes(owner, list(names)))
  if len(batches) > 1:
    order = np.argsort(owner, kind='stable')
    table, owner = table.iloc[order].reset_index(drop=True), owner[order]
  _check_rounds(table['round'].to_numpy(), owner, folders)
  table['round'] = table['round'].astype(np.int64)
  for name in COUNTS:
    if name in table:
      table[name] = _whole(table[name])
  if kept is not None and len(folders) and not set(kept) <= set(table.columns):
    missing = next(name for name in kept if name not in table)
    raise UsageError(f'{missing}: no column of any of the metrics.csv')
  return table, notes


def _whole(column: pd.Series) -> pd.Series:
  """A column as Int64, which may lack values; as it is where a number is not whole."""
  try:
    return column.astype('Int64')
  except TypeError:
    return column


def _parse_batch(
  sheets: Sequence[_Sheet], kept: Optional[Sequence[str]]
) -> tuple[pyarrow.Table, list[int]]:
  """Sheets with the same columns as one table, and how many rows each has."""
  counts = [sheet.rows.count(b'\n') for sheet in sheets]
  if len(sheets) > 1:
    try:
      table = _parse(sheets[0].columns(), [sheet.rows for sheet in sheets], kept)
      if len(table) == sum(counts):
        return table, counts
    except pyarrow.ArrowInvalid:
      pass  # One by one, the one at fault names itself.
  tables = [sheet.parse(kept) for sheet in sheets]
  return pyarrow.concat_tables(tables), [len(table) for table in tables]


def _check_rounds(rounds: np.ndarray, owner: np.ndarray, folders: Sequence[pathlib.Path]) -> None:
  """Sees that rounds are whole numbers and rise within every run."""
  wrong = ~(np.floor(rounds) == rounds)
  wrong[1:] |= (np.diff(rounds) <= 0) & (np.diff(owner) == 0)
  if wrong.any():
    path = folders[owner[np.argmax(wrong)]] / METRICS
    raise UsageError(f'{path}: its rounds are not whole numbers that rise from row to row')


def read_facts(
  folders: Sequence[pathlib.Path], names: Sequence[str], metrics: pd.DataFrame
) -> pd.DataFrame:
  """`Runs.facts`: what the manifests say of the runs, and what their metrics do."""
  grouped = metrics.groupby('run', observed=False, sort=False)
  last = grouped['round'].max()
  seconds = grouped['seconds'].sum() if 'seconds' in metrics else pd.Series(np.nan, last.index)
  rows = [
    {
      'path': str(folder),
      'last_round': int(last[name]),
      'seconds': float(seconds[name]),
      **_manifest_facts(folder / MANIFEST),
    }
    for folder, name in zip(folders, names)
  ]
  return pd.DataFrame(rows, index=pd.Index(names, name='run'))[list(FACTS)]


def _manifest_facts(path: pathlib.Path) -> dict[str, Any]:
  try:
    manifest = json.loads(path.read_text())
  except FileNotFoundError:
    manifest = {}
  except (OSError, ValueError) as error:
    raise UsageError(f'{path}: cannot be read as JSON ({error})') from error
  if not isinstance(manifest, Mapping):
    raise UsageError(f'{path}: is not the manifest of a run')
  sources = json.dumps(manifest.get('sources', {}), sort_keys=True)
  sessions = manifest.get('sessions') or [{}]
  return {
    'finished': manifest.get('finished'),
    'diverged': bool(manifest.get('diverged')),
    'parameters': manifest.get('parameters'),
    'commit': sessions[-1].get('commit', ''),
    'data': hashlib.sha256(sources.encode()).hexdigest() if manifest.get('sources') else '',
    'partition': manifest.get('passport', {}).get('partition_sha256', ''),
  }


def last_client_rows(path: pathlib.Path) -> pd.DataFrame:
  """Rows of a clients.csv: for each phase, those of its last round."""
  content = path.read_bytes()
  content = content[: content.rfind(b'\n') + 1]
  text = pyarrow.string()
  try:
    table = pyarrow.csv.read_csv(
      pyarrow.py_buffer(content),
      parse_options=pyarrow.csv.ParseOptions(newlines_in_values=b'"' in content),
      convert_options=pyarrow.csv.ConvertOptions(
        column_types={
          **{'client_id': text, 'phase': text, 'metric': text},
          **dict.fromkeys(('round', 'num_examples', 'value'), pyarrow.float64()),
        },
      ),
    ).to_pandas()
  except pyarrow.ArrowInvalid as error:
    raise UsageError(f'{path}: {_complaint(error)}') from error
  missing = [name for name in _CLIENT_COLUMNS if name not in table]
  if missing:
    raise UsageError(f'{path}: has no column {missing[0]}')
  newest = table.groupby('phase')['round'].transform('max')
  table = table[table['round'] == newest]
  return table.astype({'round': np.int64, 'num_examples': np.int64})

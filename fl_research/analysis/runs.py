"""Folders of runs -> tidy tables.

A run is a folder with `metrics.csv` and `hparams.csv` (see `fl_research.training.run_folder`).
Files with the same columns are joined as text and parsed in one go, which makes ten thousand runs a
matter of seconds. Nothing here imports TensorFlow.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import csv
import dataclasses
import difflib
import functools
import glob
import hashlib
import io
import json
import os
import pathlib
import re
from typing import Any, Optional, Union

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.csv

from fl_research import settings as settings_lib
from fl_research.registry import UsageError

METRICS, HPARAMS, CLIENTS, MANIFEST = 'metrics.csv', 'hparams.csv', 'clients.csv', 'manifest.json'
SEED = 'seed'
NAME = 'experiment_name'
FACTS = ('path', 'finished', 'last_round', 'seconds', 'parameters', 'commit', 'data', 'partition')
"""What `Runs.facts` holds beside the settings."""

_TEXT_COLUMNS = frozenset({'dropped_clients'})
_CLIENT_COLUMNS = ('round', 'client_id', 'phase', 'num_examples', 'metric', 'value')
_GLOB = re.compile(r'[*?\[]')
_NO_NUMBER = re.compile(r'CSV column #(\d+): Row #(\d+): CSV conversion error to \w+: (.*)')
_TORN_ROW = re.compile(r'Row #(\d+): Expected (\d+) columns, got (\d+)')


@dataclasses.dataclass(frozen=True)
class Runs:
  """Runs as tables, joined by the column or index `run`, the run's folder in short.

  Attributes:
    settings: one row per run, a column per flag of hparams.csv; None where a run has no such flag
      or left it empty.
    facts: one row per run: `path`; `finished` (None when no manifest says); `last_round`;
      `seconds` of computing; `parameters` of the model; `commit`; `data` and `partition`, hashes
      of the data files and of who holds which example.
    metrics: the rows of all metrics.csv, after the columns `run` and `round`.
    notes: what readers should know, a line each: torn rows that were left out.
  """

  settings: pd.DataFrame
  facts: pd.DataFrame
  metrics: pd.DataFrame
  notes: tuple[str, ...] = ()

  def __len__(self) -> int:
    return len(self.settings)

  def _repr_html_(self) -> str:
    """How notebooks show it: the settings that differ, and the facts."""
    shown = [SEED, *self.varying()] if SEED in self.settings else self.varying()
    return self.settings[shown].join(self.facts.drop(columns='path'))._repr_html_()

  @property
  def task(self) -> str:
    """The task of all the runs.

    Raises:
      UsageError: they are of several tasks.
    """
    if 'task' not in self.settings:
      return ''
    names = sorted({str(name) for name in self.settings['task']})
    if len(names) > 1:
      raise UsageError(
        f'the runs are of different tasks ({", ".join(names)}), whose metrics cannot be compared; '
        f'choose one, as in FOLDER:task={names[0]}'
      )
    return names[0]

  def varying(self) -> list[str]:
    """Settings that can change results and differ between the runs, the seed and names left out."""
    return [
      name
      for name in self.settings
      if name not in _without_effect()
      and name not in (SEED, NAME)
      and len({_key(value) for value in self.settings[name]}) > 1
    ]

  def wide(self) -> pd.DataFrame:
    """Metrics with the settings of their run beside them: one row per run and round.

    A setting with the name of a metric (`stragglers`) has `_setting` added to it.
    """
    return self.metrics.join(self.settings, on='run', rsuffix='_setting')

  def long(self, columns: Optional[Sequence[str]] = None) -> pd.DataFrame:
    """Metrics as rows `run, round, metric, value`; those without a value are left out.

    Args:
      columns: the columns to melt; all with numbers when None.

    Raises:
      UsageError: there is no such column.
    """
    if columns is None:
      numbers = self.metrics.select_dtypes('number').columns
      columns = [name for name in numbers if name != 'round']
    for name in columns:
      self.check_column(name)
    table = self.metrics.melt(['run', 'round'], list(columns), 'metric', 'value')
    return table.dropna(subset='value').reset_index(drop=True)

  def check_column(self, name: str) -> None:
    """Sees that the metrics have a column, with numbers.

    Raises:
      UsageError: they have not; near names are suggested.
    """
    if name not in self.metrics or name in _TEXT_COLUMNS:
      known = [column for column in self.metrics if '/' in column]
      near = difflib.get_close_matches(name, list(self.metrics), n=1)
      hint = f' (did you mean {near[0]}?)' if near else ''
      raise UsageError(f'{name}: no column of metrics.csv{hint}; there are {", ".join(known)}')

  def check_setting(self, name: str) -> None:
    """Sees that hparams.csv have a column.

    Raises:
      UsageError: none has; near names are suggested.
    """
    if name not in self.settings:
      near = difflib.get_close_matches(name, list(self.settings), n=1)
      hint = f' (did you mean {near[0]}?)' if near else ''
      raise UsageError(f'{name}: none of the runs has such a setting{hint}')

  def select(self, **wanted: Any) -> 'Runs':
    """The runs with these settings, e.g. `select(algorithm='fedavg', client_learning_rate=0.1)`.

    Raises:
      UsageError: there is no such setting, or no run has these values.
    """
    keep = pd.Series(True, self.settings.index)
    for name, value in wanted.items():
      self.check_setting(name)
      matches = self.settings[name].map(lambda found, value=value: _key(found) == _key(value))
      if not matches.any():
        found = sorted({_key(v) or 'nothing' for v in self.settings[name]})
        raise UsageError(f'{name}={value}: no run has this; there are {", ".join(found)}')
      keep &= matches
    if not keep.any():
      text = ', '.join(f'{name}={value}' for name, value in wanted.items())
      raise UsageError(f'{text}: no run has all of these')
    return self.take(self.settings.index[keep])

  def take(self, names: Iterable[str]) -> 'Runs':
    """The runs of these names."""
    names = list(names)
    rows = self.metrics['run'].isin(names)
    return Runs(self.settings.loc[names], self.facts.loc[names], self.metrics[rows], self.notes)

  def label(self, by: Optional[Sequence[str]] = None) -> pd.Series:
    """The cell that each run belongs to, in words: `algorithm=fedavg, client_learning_rate=0.1`.

    Args:
      by: settings that make a cell; those that differ, the seed left out, when None.

    Raises:
      UsageError: there is no such setting.
    """
    by = self.varying() if by is None else list(by)
    for name in by:
      self.check_setting(name)
    if not by:
      return pd.Series('all runs', self.settings.index, name='cell')
    columns = [[f'{name}={_key(v) or "-"}' for v in self.settings[name]] for name in by]
    return pd.Series(
      [', '.join(parts) for parts in zip(*columns)], self.settings.index, name='cell'
    )

  @functools.cached_property
  def clients(self) -> pd.DataFrame:
    """Last known values of every client, from the clients.csv of those runs that have one.

    For every run and phase, the rows of the last round in which it was measured: `run`, `phase`,
    `metric`, `client_id`, `round`, `num_examples`, `value`.

    Raises:
      UsageError: no run has one, or one cannot be read.
    """
    tables = []
    for run, folder in self.facts['path'].items():
      path = pathlib.Path(folder) / CLIENTS
      if path.exists():
        tables.append(_last_client_rows(path).assign(run=run))
    if not tables:
      raise UsageError(f'no run has a {CLIENTS}; train with --clients_csv to get one')
    order = ['run', 'phase', 'metric', 'client_id', 'round', 'num_examples', 'value']
    return pd.concat(tables, ignore_index=True)[order]


def load_runs(
  where: Union[str, os.PathLike, Iterable[Union[str, os.PathLike]]],
  columns: Optional[Sequence[str]] = None,
) -> Runs:
  """Reads all the runs that are somewhere.

  Args:
    where: a folder or pattern (`results`, `results/**`, `results/fedavg_*`), or several; runs are
      looked for in all that match and below. After a colon follow settings that the runs must have:
      `results:algorithm=fedavg,client_learning_rate=0.1`.
    columns: columns of metrics.csv to keep beside `round`; all when None.

  Raises:
    UsageError: there are none, or a file cannot be understood; which, and where.
  """
  places = [where] if isinstance(where, (str, os.PathLike)) else list(where)
  loaded = [_load(os.fspath(place), columns) for place in places]
  return loaded[0] if len(loaded) == 1 else concatenate(loaded)


def concatenate(parts: Sequence[Runs]) -> Runs:
  """Several sets of runs as one; a run that is in more than one is taken once."""
  paths = list(dict.fromkeys(path for part in parts for path in part.facts['path']))
  names = dict(zip(paths, _short_names(paths)))
  seen: set[str] = set()
  settings, facts, metrics = [], [], []
  for part in parts:
    new = part.take(run for run, path in part.facts['path'].items() if path not in seen)
    seen.update(new.facts['path'])
    renamed = {run: names[path] for run, path in new.facts['path'].items()}
    settings.append(new.settings.rename(index=renamed))
    facts.append(new.facts.rename(index=renamed))
    metrics.append(new.metrics.assign(run=new.metrics['run'].astype(str).map(renamed)))
  together = pd.concat(metrics, ignore_index=True)
  together['run'] = together['run'].astype('category')
  joined = pd.concat(settings).astype(object)
  return Runs(
    joined.where(joined.notna(), None).infer_objects(),
    pd.concat(facts),
    together,
    tuple(dict.fromkeys(note for part in parts for note in part.notes)),
  )


def parse_place(text: str) -> tuple[str, dict[str, str]]:
  """`FOLDER:setting=value,...` -> the folder, and the settings its runs must have."""
  folder, colon, conditions = text.rpartition(':')
  if not colon or '=' not in conditions or '/' in conditions.partition('=')[0]:
    return text, {}
  wanted = {}
  for condition in conditions.split(','):
    name, equals, value = condition.partition('=')
    if not equals or not name:
      raise UsageError(f'{text}: {condition or "nothing"} after the colon is not setting=value')
    wanted[name] = value
  return folder, wanted


def _load(place: str, columns: Optional[Sequence[str]]) -> Runs:
  pattern, wanted = parse_place(place)
  folders = find_runs(pattern)
  if not folders:
    raise UsageError(f'{place}: there are no runs; a run is a folder with {METRICS}')
  names = _short_names([str(folder) for folder in folders])
  settings = _read_settings(folders, names)
  metrics, notes = _read_metrics(folders, names, columns)
  facts = _read_facts(folders, names, metrics)
  runs = Runs(settings, facts, metrics, tuple(notes))
  return runs.select(**wanted) if wanted else runs


def find_runs(pattern: str) -> list[pathlib.Path]:
  """Folders with metrics.csv among those that match a pattern, and below them; sorted.

  Raises:
    UsageError: nothing matches.
  """
  if not pattern:
    raise UsageError('no folder was given')
  base = re.sub(r'(?<=.)(/\*\*?)+/?$', '', pattern)
  starts = sorted(glob.glob(base, recursive=True)) if _GLOB.search(base) else [base]
  starts = [start for start in starts if os.path.isdir(start)]
  if not starts:
    raise UsageError(f'{pattern}: there is no such folder')
  found = {folder for start in starts for folder in _runs_below(start)}
  return [pathlib.Path(folder) for folder in sorted(found)]


def _runs_below(start: str) -> Iterator[str]:
  """Folders with metrics.csv; those below a run are its own and not looked at."""
  for folder, below, files in os.walk(start):
    if METRICS in files:
      below.clear()
      yield os.path.normpath(folder)


def _short_names(paths: Sequence[str]) -> list[str]:
  """The paths without the folder that they share."""
  if len(paths) == 1:
    return [os.path.basename(os.path.abspath(paths[0]))]
  shared = os.path.commonpath([os.path.abspath(path) for path in paths])
  return [os.path.relpath(path, shared) for path in paths]


def _read_settings(folders: Sequence[pathlib.Path], names: Sequence[str]) -> pd.DataFrame:
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


def _key(value: Any) -> str:
  """A setting's value as text, the same for equal values; empty for none."""
  if value is None or value != value:
    return ''
  if isinstance(value, (bool, np.bool_)):
    return str(bool(value))
  try:
    return f'{float(value):.12g}'
  except (TypeError, ValueError):
    return str(value)


@functools.cache
def _without_effect() -> frozenset[str]:
  """Settings that cannot change what a run computes."""
  return frozenset(f.name for f in settings_lib.fields() if not f.metadata['identity'])


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
    return names

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
  types = {name: pyarrow.string() if name in _TEXT_COLUMNS else pyarrow.float64() for name in names}
  wanted = None if kept is None else ['round', *(n for n in kept if n in names and n != 'round')]
  return pyarrow.csv.read_csv(
    pyarrow.py_buffer(b''.join(rows)),
    pyarrow.csv.ReadOptions(use_threads=not alone, column_names=list(names), block_size=1 << 24),
    pyarrow.csv.ParseOptions(newlines_in_values=newlines),
    pyarrow.csv.ConvertOptions(column_types=types, include_columns=wanted),
  )


def _read_metrics(
  folders: Sequence[pathlib.Path], names: Sequence[str], kept: Optional[Sequence[str]]
) -> tuple[pd.DataFrame, list[str]]:
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
  if kept is not None and len(folders) and not set(kept) <= set(table.columns):
    missing = next(name for name in kept if name not in table)
    raise UsageError(f'{missing}: no column of any of the metrics.csv')
  return table, notes


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


def _read_facts(
  folders: Sequence[pathlib.Path], names: Sequence[str], metrics: pd.DataFrame
) -> pd.DataFrame:
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
    'parameters': manifest.get('parameters'),
    'commit': sessions[-1].get('commit', ''),
    'data': hashlib.sha256(sources.encode()).hexdigest() if manifest.get('sources') else '',
    'partition': manifest.get('passport', {}).get('partition_sha256', ''),
  }


def _last_client_rows(path: pathlib.Path) -> pd.DataFrame:
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

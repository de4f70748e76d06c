"""Folders of runs -> tidy tables.

A run is a folder with `metrics.csv` and `hparams.csv` (see `fl_research.training.run_folder`);
`run_files` reads them. Nothing here imports TensorFlow.
"""

from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import functools
import glob
import os
import pathlib
import re
from typing import Any, Optional, Union

import numpy as np
import pandas as pd

from fl_research import registry
from fl_research import settings as settings_lib
from fl_research.analysis import run_files
from fl_research.registry import UsageError

SEED = 'seed'
NAME = 'experiment_name'
_GLOB = re.compile(r'[*?\[]')


@dataclasses.dataclass(frozen=True)
class Runs:
  """Runs as tables, joined by the column or index `run`, the run's folder in short.

  Attributes:
    settings: one row per run, a column per flag of hparams.csv; None where a run has no such flag
      or left it empty.
    facts: one row per run: `path`; `finished` (None when no manifest says); `diverged`, whether it
      ended since no client sent a finite update any more; `last_round`;
      `seconds` of computing; `parameters` of the model; `commit`; `data` and `partition`, hashes
      of the data files and of who holds which example.
    metrics: the rows of all metrics.csv, after the columns `run` and `round`. Counts (clients,
      examples, bytes) are of pandas' type Int64: whole, and missing before the first round.
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
  def diverged(self) -> pd.Series:
    """Which runs diverged; none where the facts do not say."""
    return self.facts['diverged'].eq(True)

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
    counts = {n: np.float64 for n in columns if n in run_files.COUNTS}
    table = self.metrics.astype(counts).melt(['run', 'round'], list(columns), 'metric', 'value')
    return table.dropna(subset='value').reset_index(drop=True)

  def check_column(self, name: str) -> None:
    """Sees that the metrics have a column, with numbers.

    Raises:
      UsageError: they have not; near names are suggested.
    """
    if name not in self.metrics or name in run_files.TEXT_COLUMNS:
      known = [column for column in self.metrics if '/' in column]
      hint = registry.suggestion(name, self.metrics)
      raise UsageError(f'{name}: no column of metrics.csv{hint}; there are {", ".join(known)}')

  def check_setting(self, name: str) -> None:
    """Sees that hparams.csv have a column.

    Raises:
      UsageError: none has; near names are suggested.
    """
    if name not in self.settings:
      hint = registry.suggestion(name, self.settings)
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
      path = pathlib.Path(folder) / run_files.CLIENTS
      if path.exists():
        tables.append(run_files.last_client_rows(path).assign(run=run))
    if not tables:
      raise UsageError(f'no run has a {run_files.CLIENTS}; train with --clients_csv to get one')
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
    raise UsageError(f'{place}: there are no runs; a run is a folder with {run_files.METRICS}')
  names = _short_names([str(folder) for folder in folders])
  settings = run_files.read_settings(folders, names)
  metrics, notes = run_files.read_metrics(folders, names, columns)
  facts = run_files.read_facts(folders, names, metrics)
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
    if run_files.METRICS in files:
      below.clear()
      yield os.path.normpath(folder)


def _short_names(paths: Sequence[str]) -> list[str]:
  """The paths without the folder that they share."""
  if len(paths) == 1:
    return [os.path.basename(os.path.abspath(paths[0]))]
  shared = os.path.commonpath([os.path.abspath(path) for path in paths])
  return [os.path.relpath(path, shared) for path in paths]


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

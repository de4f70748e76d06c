"""Where two runs part, and what may explain it."""

import dataclasses
import json
import pathlib
from typing import Any, Optional

import numpy as np
import pandas as pd

from fl_research.analysis.run_files import MANIFEST
from fl_research.analysis.runs import load_runs, NAME, Runs
from fl_research.registry import UsageError

_TIMES = ('seconds',)


@dataclasses.dataclass(frozen=True)
class Parting:
  """The first value in which two runs differ.

  Attributes:
    round_num: its round.
    column: its column; the first in the order of metrics.csv.
    a: its value in the one run.
    b: its value in the other.
    columns: all columns that differ in that round.
  """

  round_num: int
  column: str
  a: Any
  b: Any
  columns: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Divergence:
  """How two runs differ.

  Attributes:
    rounds: how many rounds were compared: those that both have.
    parting: the first difference; None when all compared values are the same.
    lengths: the last round of each.
    only_in_one: columns that only one of them has.
    causes: what differs and can change results, likeliest first: what, in a, in b.
    harmless: settings that differ and cannot change results (output folder, ...).
  """

  rounds: int
  parting: Optional[Parting]
  lengths: tuple[int, int]
  only_in_one: tuple[str, ...]
  causes: tuple[tuple[str, str, str], ...]
  harmless: tuple[tuple[str, str, str], ...]

  @property
  def same(self) -> bool:
    """Whether the runs have the same rounds, columns and values, times aside."""
    return not self.parting and not self.only_in_one and self.lengths[0] == self.lengths[1]


def diverge(a: str, b: str, tolerance: float = 0.0) -> Divergence:
  """Compares two runs, value by value, in all they wrote but times.

  Args:
    a: folder of the one run.
    b: folder of the other.
    tolerance: relative difference up to which numbers count as the same; with 0, only equal ones.

  Raises:
    UsageError: one of them is no run, or is several.
  """
  runs = [_single(place) for place in (a, b)]
  tables = [run.metrics.drop(columns='run').set_index('round') for run in runs]
  columns = [c for c in tables[0] if c in tables[1] and c not in _TIMES]
  rounds = tables[0].index.intersection(tables[1].index)
  either = [c for c in dict.fromkeys([*tables[0], *tables[1]]) if c not in (*columns, *_TIMES)]
  causes, harmless = _explain(runs)
  return Divergence(
    rounds=len(rounds),
    parting=_part(tables[0].loc[rounds, columns], tables[1].loc[rounds, columns], tolerance),
    lengths=(int(tables[0].index[-1]), int(tables[1].index[-1])),
    only_in_one=tuple(either),
    causes=tuple(causes),
    harmless=tuple(harmless),
  )


def _single(place: str) -> Runs:
  runs = load_runs(place)
  if len(runs) > 1:
    raise UsageError(
      f'{place}: holds {len(runs)} runs; give the folder of one, such as '
      f'{runs.facts["path"].iloc[0]}'
    )
  return runs


def _part(a: pd.DataFrame, b: pd.DataFrame, tolerance: float) -> Optional[Parting]:
  differs = pd.DataFrame({name: _differ(a[name], b[name], tolerance) for name in a}, a.index)
  rows = differs.any(axis=1)
  if not rows.any():
    return None
  round_num = rows.idxmax()
  columns = tuple(differs.columns[differs.loc[round_num]])
  first = columns[0]
  return Parting(int(round_num), first, a.loc[round_num, first], b.loc[round_num, first], columns)


def _differ(a: pd.Series, b: pd.Series, tolerance: float) -> np.ndarray:
  if a.dtype == object or b.dtype == object:
    return (a.fillna('') != b.fillna('')).to_numpy()
  x, y = a.to_numpy(np.float64), b.to_numpy(np.float64)
  # Both missing is no difference, one missing is; infinities are equal or not.
  same = (x == y) | (np.isnan(x) & np.isnan(y))
  with np.errstate(invalid='ignore'):
    near = np.abs(x - y) <= tolerance * np.maximum(np.abs(x), np.abs(y))
  return ~(same | (near & np.isfinite(x) & np.isfinite(y)))


_Rows = list[tuple[str, str, str]]


def _explain(runs: list[Runs]) -> tuple[_Rows, _Rows]:
  """What differs and can change results, likeliest first, and settings that cannot."""
  manifests = [_manifest(run) for run in runs]
  flags = [manifest.get('flags', run.settings.iloc[0]) for run, manifest in zip(runs, manifests)]
  identity = {name for manifest in manifests for name in manifest.get('identity', {})}
  identity |= {name for manifest in manifests for name in manifest.get('method_flags', {})}
  known_to_matter = identity or {name for both in flags for name in dict(both)}
  mattering: _Rows = []
  harmless: _Rows = []
  for what, x, y in _unequal(dict(flags[0]), dict(flags[1])):
    if what != NAME:
      (mattering if what in known_to_matter else harmless).append((f'--{what}', x, y))
  causes = list(mattering)
  for part, title in (
    ('sources', 'data file'),
    ('passport', 'data:'),
    ('versions', 'version of'),
    ('machine', 'machine:'),
  ):
    found = _unequal(manifests[0].get(part) or {}, manifests[1].get(part) or {})
    causes += [(f'{title} {what}', x, y) for what, x, y in found]
  commits = [(m.get('sessions') or [{}])[-1].get('commit', '') for m in manifests]
  if commits[0] != commits[1]:
    causes.append(('commit', *commits))
  chunks = [(m.get('runtime') or {}) for m in manifests]
  keys = ('runtime', 'chunks', 'kernel_threads', 'jit')
  causes += [
    (f'runtime: {what}', x, y)
    for what, x, y in _unequal(*({k: c[k] for k in keys if k in c} for c in chunks))
  ]
  return causes, harmless


def _manifest(run: Runs) -> dict[str, Any]:
  path = pathlib.Path(run.facts['path'].iloc[0]) / MANIFEST
  return json.loads(path.read_text()) if path.exists() else {}


def _unequal(a: dict[str, Any], b: dict[str, Any]) -> _Rows:
  text = lambda value: '(none)' if value in (None, '') else str(value)
  return [
    (key, text(a.get(key)), text(b.get(key)))
    for key in {**a, **b}
    if text(a.get(key)) != text(b.get(key))
  ]

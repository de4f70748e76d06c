"""Choosing the best cell of a sweep, without looking at the test set."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from fl_research.analysis import intervals
from fl_research.analysis.measures import LAST, Measure
from fl_research.registry import UsageError
from fl_research.settings import Settings

_ALLOWED = ('train', 'train_set', 'held_out', 'held_out_clients')
SEED = 'seed'


def check_measure(measure: Measure, allow_test_target: bool) -> None:
  """Sees that a choice by a measure does not look at the test set.

  Raises:
    UsageError: it would.
  """
  if measure.column.partition('/')[0] in _ALLOWED and '/' in measure.column:
    return
  if measure.reaches and measure.column.startswith(('eval/', 'personal/')):
    if allow_test_target:
      return
    raise UsageError(
      f'--select={measure}: chooses by the test set; --allow_test_target permits it, to repeat '
      'papers that did so'
    )
  raise UsageError(
    f'--select={measure}: would choose by other than training or held-out data; accepted are '
    'columns train/... and held_out/... (with --held_out_clients_fraction)'
  )


def check_settings(measure: Measure, settings: Settings, allow_test_target: bool) -> None:
  """Sees that a run will have the measure, and does not itself look at the test set.

  Raises:
    UsageError: the run is shorter than the measure's rounds, has no held-out clients to measure, or
      ends early by a metric of the test set.
  """
  if measure.kind == LAST and measure.number > settings.total_rounds:
    raise UsageError(
      f'--select={measure}: the runs have --total_rounds={settings.total_rounds} only'
    )
  if measure.column.startswith('held_out') and not settings.held_out_clients_fraction:
    raise UsageError(f'--select={measure}: needs --held_out_clients_fraction above 0')
  watched = settings.target_metric
  if watched and watched.partition('/')[0] not in _ALLOWED and not allow_test_target:
    raise UsageError(
      f'--target_metric={watched}: ends runs by the test set, which then has a say in the choice; '
      'leave it out, or give --allow_test_target to repeat a paper that did so'
    )


@dataclasses.dataclass(frozen=True)
class Choice:
  """What a sweep found.

  Attributes:
    cells: one row per cell, in the sweep's order: its swept settings, `runs`, `missing`, `mean`,
      `sd`, `low`, `high`, `best`.
    best: position of the best cell; -1 when no cell has a value from all its runs.
    edges: the swept numbers whose best value is the `smallest` or `largest` that was tried.
    warnings: what readers should know, a line each.
  """

  cells: pd.DataFrame
  best: int
  edges: Mapping[str, str]
  warnings: tuple[str, ...]


def choose(cells: Sequence[Mapping[str, str]], values: Sequence[float], measure: Measure) -> Choice:
  """Averages over seeds and marks the best cell.

  A cell with a run that failed, or has no value (it diverged, or never reached the target), cannot
  be the best: the mean of the others would flatter it.

  Args:
    cells: the swept settings of every run, the seed among them.
    values: the measure of every run, NaN for none.
    measure: says whether low is better.
  """
  names = [name for name in dict.fromkeys(n for cell in cells for n in cell) if name != SEED]
  groups: dict[tuple[str, ...], list[float]] = {}
  for cell, value in zip(cells, values):
    groups.setdefault(tuple(cell.get(name, '') for name in names), []).append(value)
  rows = [{**dict(zip(names, key)), **_row(np.array(found))} for key, found in groups.items()]
  table = pd.DataFrame(rows)
  means = table['mean'].to_numpy(np.float64)
  best = -1
  if np.isfinite(means).any():
    best = int(np.nanargmin(means) if measure.falls else np.nanargmax(means))
  table['best'] = np.arange(len(table)) == best
  swept = [dict(zip(names, key)) for key in groups]
  at_edge = edges(swept, best) if best >= 0 else {}
  warnings = [
    f'the best {name}, {swept[best][name]}, is the {side} that was tried; the optimum may lie '
    'beyond the edge'
    for name, side in at_edge.items()
  ]
  if best < 0:
    warnings.append('no cell has a value from all its runs')
  incomplete = int((table['missing'] > 0).sum())
  if incomplete and best >= 0:
    warnings.append(
      f'{incomplete} of {len(table)} cells lack a value of a run and were passed over'
    )
  if measure.column.startswith('train/') and len({cell.get('algorithm') for cell in swept}) > 1:
    metric = measure.column.partition('/')[2]
    warnings.append(
      f'{measure.column} is of models while clients train them, which says little between '
      f'algorithms: choose by --select="held_out/{metric} ..." with --held_out_clients_fraction=0.2'
    )
  if table['runs'].max() == 1:
    warnings.append('one seed per cell: nothing is known of the spread; sweep seed=0,1,2 as well')
  return Choice(table, best, at_edge, tuple(warnings))


def _row(values: np.ndarray) -> dict[str, Any]:
  missing = int(np.isnan(values).sum())
  low, high = (np.nan, np.nan) if missing else intervals.t_interval(values)
  return {
    'runs': len(values),
    'missing': missing,
    'mean': np.nan if missing else float(values.mean()),
    'sd': np.nan if missing or len(values) < 2 else float(values.std(ddof=1)),
    'low': low,
    'high': high,
  }


def edges(cells: Sequence[Mapping[str, Any]], best: int) -> dict[str, str]:
  """The swept numbers whose best value has none on one side -> `smallest` or `largest`."""
  found = {}
  for name in cells[best]:
    numbers = pd.to_numeric(pd.Series([cell.get(name) for cell in cells]), errors='coerce')
    if name == SEED or numbers.isna().any() or numbers.nunique() < 2:
      continue
    if numbers[best] in (numbers.min(), numbers.max()):
      found[name] = 'smallest' if numbers[best] == numbers.min() else 'largest'
  return found

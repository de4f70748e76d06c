"""Runs of one cell, which differ in their seed only, in one row."""

from collections.abc import Sequence
from typing import Optional

import numpy as np
import pandas as pd

from fl_research.analysis import intervals
from fl_research.analysis.runs import Runs


def summarise(
  runs: Runs,
  values: pd.Series,
  by: Optional[Sequence[str]] = None,
  method: str = 't',
  confidence: float = 0.95,
  seed: int = 0,
) -> pd.DataFrame:
  """Mean over seeds with a confidence interval, for every cell.

  Args:
    runs: the runs.
    values: a number per run, indexed like `runs.settings`, such as `Measure.of` gives.
    by: settings that make a cell; when None, those that differ, the seed left out.
    method: `t` or `bootstrap` (see `intervals`).
    confidence: of the interval.
    seed: of the bootstrap.

  Returns:
    One row per cell, in order of appearance, with the settings of `by`, and: `runs`; `missing`,
    those without a value (a target not reached, a metric not finite); `mean`, `sd` (n-1), `median`,
    `low`, `high`. Wherever a value is missing all of these are NaN, since the mean of the others
    would flatter; `sd`, `low` and `high` are NaN for a single run too.

  Raises:
    UsageError: there is no setting of that name.
  """
  by = runs.varying() if by is None else list(by)
  cells = runs.label(by)
  rows = {}
  for cell, members in cells.groupby(cells, sort=False):
    first = runs.settings.loc[members.index[0], by]
    found = values[members.index].to_numpy(np.float64)
    rows[cell] = {**first.to_dict(), **_describe(found, method, confidence, seed)}
  return pd.DataFrame.from_dict(rows, orient='index').rename_axis('cell')


def _describe(values: np.ndarray, method: str, confidence: float, seed: int) -> dict[str, float]:
  missing = int(np.isnan(values).sum())
  counts = {'runs': len(values), 'missing': missing}
  if missing:
    return {**counts, **dict.fromkeys(('mean', 'sd', 'median', 'low', 'high'), np.nan)}
  low, high = intervals.interval(values, method, confidence, seed)
  return {
    **counts,
    'mean': float(np.mean(values)),
    'sd': float(np.std(values, ddof=1)) if len(values) > 1 else np.nan,
    'median': float(np.median(values)),
    'low': low,
    'high': high,
  }

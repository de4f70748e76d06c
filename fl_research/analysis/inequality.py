"""How unequally a model serves the clients of a run; every client counts the same."""

import numpy as np
import pandas as pd

from fl_research import metrics
from fl_research.analysis.runs import Runs
from fl_research.gini import gini
from fl_research.registry import UsageError


def fairness(runs: Runs, metric: str, phase: str = 'eval') -> pd.DataFrame:
  """How a metric is distributed over clients, at its last evaluation in every run.

  Args:
    runs: runs with clients.csv.
    metric: e.g. `accuracy`.
    phase: `eval`, `train` or `held_out`.

  Returns:
    One row per run that has such values: `clients`, `mean`, `sd`, `p10`, `p50`, `p90` and `worst10`
    (the mean of the worst tenth) as in `fl_research.metrics.distribution`; `variance` = sd²; and
    `gini`.

  Raises:
    UsageError: no run has clients.csv, or none has that metric in that phase.
  """
  table = runs.clients
  chosen = table[(table['metric'] == metric) & (table['phase'] == phase)]
  if not len(chosen):
    known = sorted({f'{p}/{m}' for p, m in zip(table['phase'], table['metric'])})
    raise UsageError(f'{phase}/{metric}: not in clients.csv; there are {", ".join(known)}')
  rows = {}
  for run, group in chosen.groupby('run', sort=False):
    values = group['value'].to_numpy(np.float64)
    row = metrics.distribution(metric, values)
    rows[run] = {**row, 'variance': row['sd'] ** 2, 'gini': gini(values[~np.isnan(values)])}
  return pd.DataFrame.from_dict(rows, orient='index').rename_axis('run')

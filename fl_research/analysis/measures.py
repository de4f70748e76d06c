"""One number per run: means of the last rounds, final values, what it costs to reach a target.

A measure has a text form, which binaries and sweeps share:

    train/accuracy last 100          mean of its values in the last 100 rounds
    eval/accuracy final              its last value
    eval/accuracy rounds to 0.97     rounds until it has been reached
    eval/accuracy hours to 0.97      hours on the virtual clock until then
"""

from collections.abc import Mapping
import dataclasses
import re

import numpy as np
import pandas as pd

from fl_research import metrics as metrics_lib
from fl_research.analysis.runs import Runs
from fl_research.registry import UsageError

LAST, FINAL, ROUNDS_TO, HOURS_TO = 'last', 'final', 'rounds to', 'hours to'
_REACHED = {ROUNDS_TO: 'rounds', HOURS_TO: 'simulated_hours'}
MOST_ROUNDS = 100
"""Of longer runs no more are averaged unless asked for, as in Reddi et al. 2021."""

_FORMS = re.compile(r'(\S+)\s+(?:(last)\s+(\S+)|(final)|(rounds|hours)\s+to\s+(\S+))')


@dataclasses.dataclass(frozen=True)
class Measure:
  """What is read off a run.

  Attributes:
    column: column of metrics.csv.
    kind: LAST, FINAL, ROUNDS_TO or HOURS_TO.
    number: how many rounds, or which target; 0 for FINAL.
  """

  column: str
  kind: str
  number: float = 0.0

  def __str__(self) -> str:
    return f'{self.column} {self.kind}' + ('' if self.kind == FINAL else f' {self.number:g}')

  @property
  def reaches(self) -> bool:
    """Whether it is what it costs to reach a target."""
    return self.kind in _REACHED

  @property
  def columns(self) -> list[str]:
    """The columns that it reads."""
    return [self.column, *(['simulated_hours'] if self.kind == HOURS_TO else [])]

  @property
  def falls(self) -> bool:
    """Whether low values are better."""
    return self.reaches or lower_is_better(self.column)

  def of(self, runs: Runs) -> pd.Series:
    """The measure of every run; NaN where it was not measured, or the target not reached.

    A run that diverged has none either, but for a target that it had reached before.
    """
    if self.reaches:
      return rounds_to_target(runs, self.column, self.number)[_REACHED[self.kind]]
    if self.kind == LAST:
      values = last_n_mean(runs, self.column, int(self.number))['value']
    else:
      values = final(runs, self.column)
    return values.mask(runs.diverged)


def parse_measure(text: str) -> Measure:
  """The measure that a text such as `train/accuracy last 100` stands for.

  Raises:
    UsageError: it stands for none.
  """
  match = _FORMS.fullmatch(text.strip())
  accepted = (
    'accepted are "COLUMN last N", "COLUMN final", "COLUMN rounds to TARGET" and "COLUMN hours to '
    'TARGET"'
  )
  if not match:
    raise UsageError(f'{text!r}: is not a measure; {accepted}')
  column, last, count, final_word, unit, target = match.groups()
  if final_word:
    return Measure(column, FINAL)
  try:
    number = int(count) if last else float(target)
  except ValueError as error:
    raise UsageError(f'{text!r}: {count or target} is not a number; {accepted}') from error
  if (last and number < 1) or not np.isfinite(number):
    raise UsageError(f'{text!r}: {number} is not accepted; {accepted}')
  return Measure(column, LAST if last else f'{unit} to', number)


def window(rounds: int) -> int:
  """How many last rounds stand for the end of a run when nobody says: a tenth, at most 100."""
  return max(1, min(rounds // 10, MOST_ROUNDS))


def choose_measure(text: str, runs: Runs) -> Measure:
  """The measure that a text stands for; when empty, the usual one of the runs.

  Raises:
    UsageError: it stands for none, or the runs were to have fewer rounds than it looks at.
  """
  if not text:
    return usual_measure(runs)
  measure = parse_measure(text)
  check_rounds(measure, runs)
  return measure


def usual_measure(runs: Runs) -> Measure:
  """What runs are compared by when nobody says: how their problem is scored, at their end.

  Runs whose clients have models of their own are scored by `personal/`; beside others, which have
  no such column, all are by what clients get on their own test examples, every client counting the
  same.

  Raises:
    UsageError: they have no column of evaluation or training.
  """
  scores = metrics_lib.SCORES
  for score in scores:
    if _have(runs, f'personal/{score}').any():
      evaluated = _have(runs, f'eval/{score}')
      for column in (f'personal/{score}', f'eval_clients/{score}_mean'):
        if _have(runs, column)[evaluated].all():
          return Measure(column, LAST, window(_rounds(runs)))
  for column in (f'{phase}/{score}' for phase in ('eval', 'train') for score in scores):
    if _have(runs, column).any():
      return Measure(column, LAST, window(_rounds(runs)))
  raise UsageError('the runs have neither eval/... nor train/...; choose a column by --measure')


def _have(runs: Runs, column: str) -> pd.Series:
  """For every run whether it has values of a column."""
  table = runs.metrics
  known = table['run'][table[column].notna()] if column in table else []
  return pd.Series(runs.settings.index.isin(known), runs.settings.index)


def check_rounds(measure: Measure, runs: Runs) -> None:
  """Sees that the runs were to have as many rounds as the measure looks at.

  Raises:
    UsageError: they were not, so that the mean would be that of the whole curve.
  """
  rounds = _rounds(runs)
  if measure.kind == LAST and measure.number > rounds:
    raise UsageError(
      f'"{measure}": the runs have {rounds} round{"" if rounds == 1 else "s"} only; choose such as '
      f'"{measure.column} last {window(rounds)}"'
    )


def _rounds(runs: Runs) -> int:
  """How many rounds all of the runs were to have; a run may have ended sooner."""
  if 'total_rounds' in runs.settings:
    return int(runs.settings['total_rounds'].min())
  return int(runs.facts['last_round'].min())


def lower_is_better(column: str) -> bool:
  """Whether low values of a column of metrics.csv are better; costs among them."""
  return '/' not in column or metrics_lib.improves_by_falling(column)


def last_n_mean(runs: Runs, column: str, n: int = 100) -> pd.DataFrame:
  """Mean over the last n rounds, the rule of Reddi et al. 2021 (with n = 100).

  The mean of the values in rounds R-n+1 to R, R being the run's last; rounds without evaluation
  have none. Round 0, the untrained model, is never among them. A run shorter than n gives the mean
  of all its rounds, which `rounds` tells.

  Args:
    runs: the runs.
    column: column of metrics.csv.
    n: how many rounds, at least 1.

  Returns:
    One row per run: `value`; `rounds`, how many rounds it stands for; `measured`, in how many of
    them there was a value. `value` is NaN when there was none.

  Raises:
    UsageError: there is no such column.
  """
  runs.check_column(column)
  table = runs.metrics[['run', 'round', column]]
  last = table['run'].map(runs.facts['last_round']).astype(np.int64)
  window = table[(table['round'] > last - n) & (table['round'] > 0)]
  grouped = window.groupby('run', observed=True)[column].agg(['mean', 'count', 'size'])
  grouped.columns = ['value', 'measured', 'rounds']
  result = grouped.reindex(runs.settings.index)
  return result.fillna({'measured': 0, 'rounds': 0}).astype({'measured': int, 'rounds': int})


def final(runs: Runs, column: str) -> pd.Series:
  """The last value of a column in every run; NaN where it has none.

  Raises:
    UsageError: there is no such column.
  """
  runs.check_column(column)
  known = runs.metrics.dropna(subset=column)
  return known.groupby('run', observed=True)[column].last().reindex(runs.settings.index)


def crossing(x: np.ndarray, y: np.ndarray, target: float, falls: bool = False) -> float:
  """Where a curve first reaches a target, by the rule of McMahan et al. 2017, section 3.

  The curve is made monotone (the best value so far) and the points are joined by straight lines.

  Args:
    x: float [n], rising.
    y: float [n].
    target: the value to reach.
    falls: whether low values are better.

  Returns:
    The x of the first point on the line at least as good as the target; NaN when it never is.
  """
  y = np.minimum.accumulate(y) if falls else np.maximum.accumulate(y)
  reached = y <= target if falls else y >= target
  if not reached.any():
    return np.nan
  after = int(np.argmax(reached))
  if after == 0:
    return float(x[0])
  share = (target - y[after - 1]) / (y[after] - y[after - 1])
  return float(x[after - 1] + share * (x[after] - x[after - 1]))


def rounds_to_target(runs: Runs, column: str, target: float) -> pd.DataFrame:
  """Rounds, bytes and simulated hours until a metric has reached a target (see `crossing`).

  Args:
    runs: the runs.
    column: column of metrics.csv; for `loss` and its like, reaching is falling to the target.
    target: the value to reach.

  Returns:
    One row per run: `reached`; `rounds`, a fraction where the target lies between two evaluations;
    `bytes_up`, `bytes_down` and `simulated_hours` up to there, growing evenly within a round.
    Where the target was not reached all four are NaN: it is only known that more than
    `last_evaluated` rounds are needed (the run is censored).

  Raises:
    UsageError: there is no such column.
  """
  runs.check_column(column)
  table = runs.metrics
  names = [n for n in ('round', column, 'bytes_up', 'bytes_down', 'simulated_hours') if n in table]
  columns = {name: table[name].to_numpy(np.float64) for name in names}
  owner = table['run'].cat.codes.to_numpy()
  starts = np.flatnonzero(np.diff(owner, prepend=-1))
  falls = lower_is_better(column)
  rows = {}
  # A run's rows follow one another; going by slices is much faster than by groups of a DataFrame.
  for start, end in zip(starts, [*starts[1:], len(owner)]):
    part = {name: values[start:end] for name, values in columns.items()}
    rows[table['run'].cat.categories[owner[start]]] = _reach(part, column, target, falls)
  return pd.DataFrame.from_dict(rows, orient='index').reindex(runs.settings.index)


def _reach(
  run: Mapping[str, np.ndarray], column: str, target: float, falls: bool
) -> dict[str, float]:
  rounds = run['round']
  known = ~np.isnan(run[column])
  x = rounds[known]
  where = crossing(x, run[column][known], target, falls) if len(x) else np.nan
  result = {'reached': bool(np.isfinite(where)), 'rounds': where}
  # Bytes are per round, hours count from the start of the run.
  for name, total in (
    ('bytes_up', np.cumsum),
    ('bytes_down', np.cumsum),
    ('simulated_hours', None),
  ):
    if name in run:
      spent = np.nan_to_num(run[name])
      spent = total(spent) if total else spent
      result[name] = float(np.interp(where, rounds, spent)) if result['reached'] else np.nan
  return {**result, 'last_evaluated': x[-1] if len(x) else np.nan}

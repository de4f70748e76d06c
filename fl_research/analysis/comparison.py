"""Two methods compared on the same seeds."""

import dataclasses

import numpy as np
import pandas as pd

from fl_research.analysis import intervals
from fl_research.analysis.measures import Measure
from fl_research.analysis.runs import NAME, Runs, SEED
from fl_research.registry import UsageError


@dataclasses.dataclass(frozen=True)
class Comparison:
  """A paired comparison of a and b.

  Attributes:
    measure: what was compared.
    pairs: by seed: `a`, `b`, `difference` = a - b.
    difference: mean of the differences.
    bootstrap: its bootstrap interval.
    t: its t interval.
    confidence: of both.
    winner: `a` or `b`; empty when the data do not tell.
    settings: setting -> its values in a and in b, for those that differ.
    same_data: whether each pair had the same examples on the same clients.
  """

  measure: Measure
  pairs: pd.DataFrame
  difference: float
  bootstrap: intervals.Interval
  t: intervals.Interval
  confidence: float
  winner: str
  settings: dict[str, tuple[str, str]]
  same_data: bool


def compare(a: Runs, b: Runs, measure: Measure, confidence: float = 0.95, seed: int = 0):
  """Compares two settings, run by run on the same seed.

  Runs with the same seed share initial model, cohorts and order of batches (common random numbers)
  as far as their settings do, so that the difference of a pair varies less than either run.

  From one pair there is no interval and no winner.

  There is a winner only where `decide` says that the mean difference is not 0.

  Args:
    a: runs that differ in their seed only.
    b: likewise; of the same task.
    measure: what to compare.
    confidence: of the intervals.
    seed: of the bootstrap.

  Returns:
    A `Comparison`.

  Raises:
    UsageError: no seed is in both; a or b holds several settings, or a seed twice;
      the tasks differ; a run is unfinished, or has no value of the measure.
  """
  tasks = sorted({a.task, b.task})
  if len(tasks) > 1:
    raise UsageError(f'A and B are of different tasks ({", ".join(tasks)}); nothing to compare')
  by_seed = {name: _by_seed(runs, measure, name) for name, runs in (('A', a), ('B', b))}
  pairs = pd.concat({'a': by_seed['A'], 'b': by_seed['B']}, axis=1, join='inner').sort_index()
  if pairs.empty:
    raise UsageError(
      f'A has seeds {_listed(by_seed["A"].index)}, B has {_listed(by_seed["B"].index)}; a seed '
      'must be in both, and two for an interval'
    )
  pairs['difference'] = pairs['a'] - pairs['b']
  differences = pairs['difference'].to_numpy()
  bootstrap, t, decided = decide(differences, confidence, seed)
  mean = float(differences.mean())
  return Comparison(
    measure=measure,
    pairs=pairs,
    difference=mean,
    bootstrap=bootstrap,
    t=t,
    confidence=confidence,
    winner=('a' if (mean < 0) == measure.falls else 'b') if decided else '',
    settings=_differences(a, b),
    same_data=_same_data(a, b, pairs.index),
  )


def decide(
  differences: np.ndarray, confidence: float = 0.95, seed: int = 0
) -> tuple[intervals.Interval, intervals.Interval, bool]:
  """The bootstrap interval and the t interval of a mean difference, and whether both exclude 0.

  The bootstrap alone would be wrong about a quarter of the time with three pairs: it excludes 0
  whenever all differences have the same sign. The t interval alone trusts in normality.

  Args:
    differences: float [n], of the pairs.
    confidence: of the intervals.
    seed: of the bootstrap.
  """
  bootstrap = intervals.bootstrap_interval(differences, confidence, seed)
  t = intervals.t_interval(differences, confidence)
  return bootstrap, t, bootstrap.excludes(0) and t.excludes(0)


def _listed(seeds: pd.Index) -> str:
  return ', '.join(str(seed) for seed in sorted(seeds))


def _by_seed(runs: Runs, measure: Measure, name: str) -> pd.Series:
  """The measure by seed; sees that the runs are of one setting, finished, and measured."""
  several = runs.varying()
  if several:
    values = ', '.join(sorted({str(value) for value in runs.settings[several[0]]}))
    raise UsageError(
      f'{name} holds runs that differ in {several[0]} ({values}); choose one, as in '
      f'FOLDER:{several[0]}={runs.settings[several[0]].iloc[0]}'
    )
  runs.check_setting(SEED)
  seeds = runs.settings[SEED]
  if seeds.duplicated().any():
    twice = seeds[seeds.duplicated()].iloc[0]
    where = ' and '.join(seeds.index[seeds == twice][:2])
    raise UsageError(f'{name} has the seed {twice} in {where}')
  for run, finished in runs.facts['finished'].items():
    if finished is False:
      raise UsageError(
        f'{name}: the run {run} is unfinished, at round {runs.facts.loc[run, "last_round"]}; '
        'run its command again, or leave it out'
      )
  found = measure.of(runs)
  if found.isna().any():
    run = found[found.isna()].index[0]
    why = ', as it diverged' if runs.diverged[run] else ''
    raise UsageError(f'{name}: the run {run} has no value of "{measure}"{why}')
  return found.set_axis(seeds)


def _differences(a: Runs, b: Runs) -> dict[str, tuple[str, str]]:
  """Settings in which a and b differ, with the value of each."""
  first = lambda runs, name: runs.settings[name].iloc[0] if name in runs.settings else None
  names = dict.fromkeys([*a.settings, *b.settings])
  both = pd.DataFrame({name: [first(a, name), first(b, name)] for name in names}, dtype=object)
  joined = Runs(both.set_axis(['a', 'b']), a.facts, a.metrics)
  text = lambda value: '' if value is None or value != value else str(value)
  return {
    name: (text(both[name][0]), text(both[name][1])) for name in joined.varying() if name != NAME
  }


def _same_data(a: Runs, b: Runs, seeds: pd.Index) -> bool:
  """Whether the runs of every pair had the same examples, dealt in the same way."""
  hashes = [
    runs.facts[['data', 'partition']].set_axis(runs.settings[SEED]).loc[seeds].to_numpy()
    for runs in (a, b)
  ]
  return bool(np.all(hashes[0] == hashes[1]) and np.all(hashes[0] != ''))

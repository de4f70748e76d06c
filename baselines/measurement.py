"""From committed curves and values to the computed columns of a claim."""

from collections.abc import Iterable
import dataclasses
import pathlib

import numpy as np
import pandas as pd

from baselines import claims, computations, studies
from baselines.claims import Claim
from baselines.studies import Study
from fl_research import analysis
from fl_research.registry import UsageError

_CONDITIONS = ('machine', 'commit')


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What was measured for a claim.

  Attributes:
    values: one per seed; NaN where a target was not reached.
    random: whether seeds make a difference, so that there is an interval.
    chosen: the best cell of each study, in words.
    edge: what of it lies at the edge of the grid, in words.
    facts: one row per run, with `seconds`, `machine`, `commit`.
  """

  values: np.ndarray
  random: bool
  chosen: str
  edge: str
  facts: pd.DataFrame


def axes(claim: Claim) -> list[str]:
  """The axes of a claim's grid."""
  return [axis.strip() for axis in claim.grid.split(';') if axis.strip()]


def columns(claim: Claim) -> list[str]:
  """The columns of metrics.csv that a claim reads."""
  texts = [claim.measure, claim.select] if claim.grid else [claim.measure]
  return [column for text in texts for column in analysis.parse_measure(text).columns]


def measure(folder: pathlib.Path, claim: Claim) -> Claim:
  """The claim with its computed columns, from what lies in the paper's folder.

  Raises:
    UsageError: results are missing.
  """
  blank = dict.fromkeys(claims.COMPUTED, '')
  if claim.not_run:
    return dataclasses.replace(claim, **blank | {'verdict': claims.NOT_RUN})
  outcome = _computed(folder, claim) if claim.computed else _trained(folder, claim)
  return dataclasses.replace(claim, **blank | _columns(folder, claim, outcome))


def _computed(folder: pathlib.Path, claim: Claim) -> Outcome:
  rows = computations.load(folder, claim)
  return Outcome(rows['value'].to_numpy(np.float64), bool(claim.seed_list), '', '', rows)


def _trained(folder: pathlib.Path, claim: Claim) -> Outcome:
  names, operators = claim.arms
  arms = [arm(Study(folder, name), claim) for name in names]
  values = arms[0].values
  for operator, other in zip(operators, arms[1:]):
    values = claims.OPERATORS[operator](values, other.values)
  chosen, edges = (_different(each) for each in zip(*((a.chosen, a.edge) for a in arms)))
  facts = pd.concat([each.facts for each in arms])
  return Outcome(values, True, ' | '.join(chosen), ' | '.join(filter(None, edges)), facts)


def _different(texts: Iterable[str]) -> list[str]:
  return list(dict.fromkeys(texts))


def arm(study: Study, claim: Claim) -> Outcome:
  """What was measured of one study: its best cell, on the claim's seeds.

  Raises:
    UsageError: results are missing.
  """
  runs = studies.load(study)
  grid = own_axes(study, claim)
  best = studies.best_cell(runs, grid, claim.seed_list[0], claim.select)
  chosen = studies.take(runs, [best], claim.seed_list)
  values = analysis.parse_measure(claim.measure).of(chosen).to_numpy(np.float64)
  facts = studies.load_facts(study.folder, study.name)
  used = {studies.cell_name(cell) for cell in studies.cells(grid)}
  facts = facts[facts['cell'].isin(used)]
  edge = ', '.join(studies.edges(grid, best))
  return Outcome(values, True, studies.cell_name(best), edge, facts)


def own_axes(study: Study, claim: Claim) -> list[str]:
  """The axes of a claim's grid for one study; `study: axis` holds for that study only."""
  found = []
  for axis in axes(claim):
    owner, colon, own = axis.partition(': ')
    if not colon:
      found.append(axis)
    elif owner == study.name:
      found.append(own.strip())
  return found


def _columns(folder: pathlib.Path, claim: Claim, outcome: Outcome) -> dict[str, str]:
  values = outcome.values
  if outcome.random and len(values) < 2:
    raise UsageError(f'{claim.claim}: one seed gives no interval; at least two are needed')
  mean, low, high = summary(values, claim.relative, outcome.random)
  return {
    'ours': _text(mean),
    'low': _text(low),
    'high': _text(high),
    'n_seeds': str(len(values)) if outcome.random else '',
    'chosen': outcome.chosen,
    'edge': outcome.edge,
    'verdict': claims.verdict(claim, low, high, outcome.edge),
    'minutes': f'{outcome.facts["seconds"].sum() / 60:.1f}',
    **{name: _joined(outcome.facts[name]) for name in _CONDITIONS},
    'command': f'python -m baselines.reproduce --paper={folder.name} --claim={claim.claim}',
  }


def summary(values: np.ndarray, relative: bool, random: bool = True) -> tuple[float, float, float]:
  """Mean and 95 % t interval; of logarithms where only factors have a meaning.

  The plain interval of three ratios, or of three numbers of rounds, can reach below zero.
  """
  if not random:
    return float(values.mean()), float(values.mean()), float(values.mean())
  scaled = np.log(values) if relative else values
  ends = np.array([scaled.mean(), *analysis.t_interval(scaled)])
  mean, low, high = np.exp(ends) if relative else ends
  return float(mean), float(low), float(high)


def _text(number: float) -> str:
  return '' if np.isnan(number) else f'{number:.4g}'


def _joined(values: Iterable[str]) -> str:
  return ' '.join(sorted({str(value) for value in values if value}))

"""A row of the ledger: what a paper says, what was measured here, and the verdict.

`claims.csv` of a paper has one row per claim. People write the columns of `WRITTEN`; the program
computes those of `COMPUTED`, and a test computes them again from the committed curves.
"""

from collections.abc import Callable, Mapping, Sequence
import csv
import dataclasses
import io
import math
import operator
import pathlib
import re
from typing import Any

from fl_research.registry import UsageError

SCALES = ('exact', 'scaled down', 'analogue')
TIERS = ('smoke', 'cpu', 'paper')
CERTAINTIES = ('R', 'R2', 'C', 'M+', 'X')
OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
  '+': operator.add,
  '-': operator.sub,
  '/': operator.truediv,
}
"""What may stand between the studies of a claim."""
REPRODUCED, SCALED_DOWN, DIFFERS, NOT_RUN = VERDICTS = (
  'reproduced',
  'scaled down',
  'differs',
  'not run',
)


@dataclasses.dataclass(frozen=True)
class Claim:
  """One checkable statement of a paper; every attribute is the text of its column.

  Attributes:
    claim: its name.
    source: where in the paper it stands.
    certainty: how sure the paper's value is: R read in the paper or its authors' code, R2 read
      elsewhere, C computed again, M+ remembered beside an anchor of the same table that was read,
      X the paper gives no number.
    statement: the claim, in a sentence.
    scale: `exact`, the paper's data and settings; `scaled down`, fewer rounds, clients or seeds;
      `analogue`, other data.
    tier: the smallest tier that measures it.
    study: what is measured: the flag file of a study; several, as `A - B`, `A / B` or `A - B + C`,
      paired on seeds and from left to right; or `module:function(arguments)` of the paper's folder
      where no study is trained.
    grid: settings that are tried, as for `experiments.sweep --grid`, with `;` between several;
      `study: flag=values` holds for one of several studies.
    select: what the best cell of the grid is best in, as for `experiments.sweep --select`.
    seeds: with commas; the grid is tried on the first, the best cell runs on all.
    measure: what is read off a run, as in `fl_research.analysis.parse_measure`.
    expected: the paper's number, or `> x` or `< x`.
    tolerance: of a number: `±x` or `×x`.
    tolerance_reason: why so much.
    explanation: where the result differs: why, as far as is known, and what shows it.
    not_run: why it was not run, with the hours it would take; empty when it was.
    ours: mean over seeds.
    low, high: its 95 % t interval; twice the value where nothing is random.
    n_seeds: how many seeds; empty where nothing is random.
    chosen: the best cell of the grid.
    verdict: one of `VERDICTS`, or empty while there is no result.
    minutes: of computing, all runs of its studies together.
    machine, commit: where and with what it was measured.
    command: what measures it again.
  """

  claim: str
  source: str
  certainty: str
  statement: str
  scale: str
  tier: str
  study: str
  grid: str
  select: str
  seeds: str
  measure: str
  expected: str
  tolerance: str
  tolerance_reason: str
  explanation: str
  not_run: str
  ours: str = ''
  low: str = ''
  high: str = ''
  n_seeds: str = ''
  chosen: str = ''
  verdict: str = ''
  minutes: str = ''
  machine: str = ''
  commit: str = ''
  command: str = ''

  @property
  def computed(self) -> bool:
    """Whether a function computes it, without training runs."""
    return ':' in self.study

  @property
  def seed_list(self) -> list[int]:
    return [int(seed) for seed in self.seeds.split(',') if seed.strip()]

  @property
  def arms(self) -> tuple[list[str], list[str]]:
    """The studies, and what joins them from left to right."""
    parts = self.study.split()
    return parts[::2], parts[1::2]


COLUMNS = tuple(field.name for field in dataclasses.fields(Claim))
COMPUTED = COLUMNS[COLUMNS.index('ours') :]
WRITTEN = COLUMNS[: COLUMNS.index('ours')]


@dataclasses.dataclass(frozen=True)
class Expectation:
  """What a claim expects: a value from `low` to `high`; `published` is the paper's, or None."""

  low: float
  high: float
  published: float | None

  def holds(self, mean: float, low: float, high: float) -> bool:
    """Whether a result is as expected: a number by its mean, an ordering by its whole interval."""
    if self.published is None:
      return self.low < low and high < self.high
    return self.low <= mean <= self.high


def parse_expectation(claim: Claim) -> Expectation:
  """What a claim expects.

  Raises:
    UsageError: `expected` or `tolerance` cannot be understood.
  """
  ordering = re.fullmatch(r'([<>])\s*(\S+)', claim.expected)
  if ordering:
    bound = _number(claim, 'expected', ordering[2])
    inf = math.inf
    return Expectation(bound, inf, None) if ordering[1] == '>' else Expectation(-inf, bound, None)
  value = _number(claim, 'expected', claim.expected)
  sign, amount = claim.tolerance[:1], claim.tolerance[1:]
  if sign not in ('±', '×'):
    raise UsageError(f'{claim.claim}: tolerance {claim.tolerance!r}: accepted are ±x and ×x')
  size = _number(claim, 'tolerance', amount)
  if sign == '±':
    return Expectation(value - size, value + size, value)
  return Expectation(value / size, value * size, value)


def _number(claim: Claim, column: str, text: str) -> float:
  try:
    return float(text)
  except ValueError as error:
    raise UsageError(f'{claim.claim}: {column} {text!r}: is not a number') from error


def verdict(claim: Claim, mean: float, low: float, high: float) -> str:
  """The verdict on a claim whose result has this mean and interval."""
  if not parse_expectation(claim).holds(mean, low, high):
    return DIFFERS
  return REPRODUCED if claim.scale == 'exact' else SCALED_DOWN


def read_claims(path: pathlib.Path) -> list[Claim]:
  """The claims of a file.

  Raises:
    UsageError: it is missing, or has other columns, or a value that is not accepted.
  """
  try:
    table = list(csv.DictReader(io.StringIO(path.read_text(encoding='utf-8'), newline='')))
  except FileNotFoundError as error:
    raise UsageError(f'{path}: missing') from error
  claims = []
  for line, row in enumerate(table, 2):
    if set(row) - set(COLUMNS) or not set(WRITTEN) <= set(row) or None in row.values():
      raise UsageError(f'{path}:{line}: its columns are not {", ".join(COLUMNS)}')
    claims.append(Claim(**row))
    _check(claims[-1], f'{path}:{line}')
  names = [claim.claim for claim in claims]
  if len(set(names)) < len(names):
    raise UsageError(f'{path}: has a claim twice')
  return claims


def _check(claim: Claim, where: str) -> None:
  accepted = {'scale': SCALES, 'tier': TIERS, 'certainty': CERTAINTIES}
  for column, values in accepted.items():
    if getattr(claim, column) not in values:
      found = getattr(claim, column)
      raise UsageError(f'{where}: {column} {found!r}: accepted are {", ".join(values)}')
  if claim.not_run:
    return
  parse_expectation(claim)
  if not claim.computed and not (claim.measure and claim.seeds):
    raise UsageError(f'{where}: a claim about training needs measure and seeds')
  if not claim.computed and not set(claim.arms[1]) <= set(OPERATORS):
    raise UsageError(f'{where}: study {claim.study!r}: between studies stands +, - or /')
  if claim.grid and not claim.select:
    raise UsageError(f'{where}: a grid needs select, the measure that chooses')


def to_csv(claims: Sequence[Claim]) -> str:
  """The text of claims.csv."""
  out = io.StringIO(newline='')
  writer = csv.DictWriter(out, COLUMNS, lineterminator='\n')
  writer.writeheader()
  writer.writerows(dataclasses.asdict(claim) for claim in claims)
  return out.getvalue()

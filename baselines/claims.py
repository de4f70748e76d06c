"""A row of the ledger: what a paper says, what was measured here, and the verdict.

`claims.csv` of a paper has one row per claim. People write the columns of `WRITTEN`; the program
fills the others, and a test computes `COMPUTED` again from the committed curves.
"""

from collections.abc import Callable, Mapping, Sequence
import csv
import dataclasses
import decimal
import io
import math
import operator
import pathlib
import re
from typing import Any

from fl_research.registry import UsageError

NUMBER, ORDERING, DERIVED, OWN = KINDS = (
  'published number',
  'published ordering',
  'computed',
  'own claim',
)
"""Kinds of rows; they are counted apart."""
TRAINED = (NUMBER, ORDERING)
"""The kinds of which the headline speaks."""
EXACT, AS_KNOWN, SMALLER, ANALOGUE = SCALES = (
  'exact',
  'as far as known',
  'scaled down',
  'analogue',
)
PAPERS_SETTING = (EXACT, AS_KNOWN)
OPEN = (
  'data',
  'pixels',
  'initialisation',
  'start',
  'cohort',
  'batch',
  'rate',
  'step',
  'epochs',
  'target',
  'measure',
  'expected',
)
"""What of a paper's setting may be unknown, or not had."""
TIERS = ('smoke', 'cpu', 'paper')
CERTAINTIES = ('R', 'R2', 'C', 'M+', 'X')
OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
  '+': operator.add,
  '-': operator.sub,
  '/': operator.truediv,
}
"""What may stand between the studies of a claim."""
REPRODUCED, CONSISTENT, DIFFERS, NOT_RUN = VERDICTS = (
  'reproduced',
  'consistent',
  'differs',
  'not run',
)
ACCURACY, ROUNDS = 0.01, 1.5
"""The tolerance of published accuracies, ±, and of published rounds to a target, ×."""


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
    kind: `published number` and `published ordering` (or trend), both trained here; `computed`:
      accounting, closed forms, errors of compression, quadratics; `own claim`: ours to state.
    scale: `exact`, the paper's data, model, partition, cohort, batch, epochs and stopping rule, all
      of them known; `as far as known`, all of them but for `open`; `scaled down`, fewer rounds,
      clients or seeds; `analogue`, other data.
    open: what of the paper's setting is not known or cannot be had: of `OPEN`, with `;` between.
    tier: the smallest tier that measures it.
    study: what is measured: the flag file of a study; several, as `A - B`, `A / B` or `A - B + C`,
      paired on seeds and from left to right; or `module:function(arguments)` of the paper's folder
      where no study is trained.
    grid: settings that are tried, as for `experiments.sweep --grid`, with `;` between several;
      `study: flag=values` holds for one of several studies.
    select: what the best cell of the grid is best in, as for `experiments.sweep --select`.
    seeds: with commas; the grid is tried on the first, the best cell runs on all.
    measure: what is read off a run, as in `fl_research.analysis.parse_measure`; of a function, in
      a word, what it gives.
    expected: the paper's number, as it is written there; with the paper's own interval, `x ± y`;
      or `> x` or `< x`. An ordering is `> 0` or `< 0` of a difference, `> 1` or `< 1` of a ratio:
      no row has a margin of its own. How near a number must come is in `Expectation`.
    explanation: where the result differs: why, as far as is known, and what shows it.
    not_run: why it was not run, with the hours it would take; empty when it was.
    replaces: the claim that this one is again with another protocol; that one and its verdict stay.
    registered: the commit in which the protocol stood before the first run, and the protocol's
      digest, written by the program; `late` where the protocol came with its first result.
    ours: mean over seeds; of ratios and rounds, which are `relative`, the geometric mean.
    low, high: its 95 % t interval, of logarithms where it is relative; twice the value where
      nothing is random.
    n_seeds: how many seeds; empty where nothing is random.
    chosen: the best cell of the grid.
    edge: the numbers of it that are the smallest or largest that were tried.
    verdict: one of `VERDICTS`, or empty while there is no result.
    minutes: of computing, all runs of its studies together.
    machine, commit: where and with what it was measured.
    command: what measures it again.
  """

  claim: str
  source: str
  certainty: str
  statement: str
  kind: str
  scale: str
  open: str
  tier: str
  study: str
  grid: str
  select: str
  seeds: str
  measure: str
  expected: str
  explanation: str
  not_run: str
  replaces: str
  registered: str = ''
  ours: str = ''
  low: str = ''
  high: str = ''
  n_seeds: str = ''
  chosen: str = ''
  edge: str = ''
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

  @property
  def relative(self) -> bool:
    """Whether only factors have a meaning: ratios, and rounds or hours to a target."""
    if self.computed:
      return self.expected in ('< 1', '> 1')
    joined = set(self.arms[1])
    return joined == {'/'} or (
      not joined and (' rounds to ' in self.measure or ' hours to ' in self.measure)
    )


COLUMNS = tuple(field.name for field in dataclasses.fields(Claim))
COMPUTED = COLUMNS[COLUMNS.index('ours') :]
WRITTEN = COLUMNS[: COLUMNS.index('registered')]


@dataclasses.dataclass(frozen=True)
class Expectation:
  """What a claim expects: a value from `low` to `high`, as `text` says.

  Published numbers have the tolerance of their kind: accuracies ±1 point, rounds to a target ×1.5,
  what is computed half a unit of its last published digit, and any number the paper's own interval
  where it gives one. Orderings have no margin.
  """

  low: float
  high: float
  text: str

  @property
  def ordering(self) -> bool:
    return math.isinf(self.low) or math.isinf(self.high)

  def judge(self, low: float, high: float) -> str:
    """The verdict on a result whose interval is from low to high.

    It is reproduced when the whole interval lies within the tolerance, differs when they are apart,
    and is consistent otherwise, as when the interval is the wider one and holds all of the
    tolerance. Where a run did not reach its target there is no interval, and the claim differs.
    """
    if math.isnan(low) or math.isnan(high) or high < self.low or low > self.high:
      return DIFFERS
    return REPRODUCED if self.low <= low and high <= self.high else CONSISTENT


def parse_expectation(claim: Claim) -> Expectation:
  """What a claim expects.

  Raises:
    UsageError: `expected` cannot be understood, or there is no tolerance for such a number.
  """
  ordering = re.fullmatch(r'([<>])\s*(\S+)', claim.expected)
  if ordering:
    bound = _number(claim, ordering[2])
    if ordering[1] == '>':
      return Expectation(math.nextafter(bound, math.inf), math.inf, claim.expected)
    return Expectation(-math.inf, math.nextafter(bound, -math.inf), claim.expected)
  number, sign, own = claim.expected.partition(' ± ')
  value = _number(claim, number)
  if sign:
    return _around(value, _number(claim, own), claim.expected)
  if claim.kind == DERIVED:
    return _rounded(number)
  if ' rounds to ' in claim.measure:
    return Expectation(value / ROUNDS, value * ROUNDS, f'{number} ×{ROUNDS}')
  if 'accuracy' in claim.measure:
    return _around(value, ACCURACY, f'{number} ±{ACCURACY}')
  raise UsageError(
    f'{claim.claim}: there is no tolerance for numbers of {claim.measure or "no measure"!r}; '
    'accepted are accuracies, rounds to a target, and any number with the paper’s own x ± y'
  )


def _around(value: float, size: float, text: str) -> Expectation:
  return Expectation(value - size, value + size, text)


def _rounded(number: str) -> Expectation:
  """What rounds to a number as it is written."""
  written = decimal.Decimal(number)
  half = decimal.Decimal(1).scaleb(int(written.as_tuple().exponent)) / 2
  return Expectation(float(written - half), float(written + half), f'{number} ±{half:g}')


def _number(claim: Claim, text: str) -> float:
  try:
    return float(text)
  except ValueError as error:
    raise UsageError(f'{claim.claim}: expected {claim.expected!r}: is not a number') from error


def verdict(claim: Claim, low: float, high: float, edge: str) -> str:
  """The verdict on a claim whose result has this interval.

  At the edge of its grid the best cell is not known to be the best: consistent is the most then.
  """
  found = parse_expectation(claim).judge(low, high)
  return CONSISTENT if edge and found == REPRODUCED else found


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
  accepted = {'kind': KINDS, 'scale': SCALES, 'tier': TIERS, 'certainty': CERTAINTIES}
  for column, values in accepted.items():
    if getattr(claim, column) not in values:
      found = getattr(claim, column)
      raise UsageError(f'{where}: {column} {found!r}: accepted are {", ".join(values)}')
  _check_open(claim, where)
  if claim.not_run:
    return
  if not claim.computed and not (claim.measure and claim.seeds):
    raise UsageError(f'{where}: a claim about training needs measure and seeds')
  if not claim.computed and not set(claim.arms[1]) <= set(OPERATORS):
    raise UsageError(f'{where}: study {claim.study!r}: between studies stands +, - or /')
  if claim.grid and not claim.select:
    raise UsageError(f'{where}: a grid needs select, the measure that chooses')
  _check_expected(claim, where)


def _check_open(claim: Claim, where: str) -> None:
  named = [word.strip() for word in claim.open.split(';') if word.strip()]
  unknown = [word for word in named if word not in OPEN]
  if unknown:
    raise UsageError(f'{where}: open {unknown[0]!r}: accepted are {", ".join(OPEN)}')
  if named and claim.scale == EXACT:
    raise UsageError(f'{where}: scale exact: not with {claim.open} open; as far as known is')
  if not named and claim.scale == AS_KNOWN:
    raise UsageError(f'{where}: scale as far as known: open must name what is not known')


def _check_expected(claim: Claim, where: str) -> None:
  ordering = parse_expectation(claim).ordering
  if claim.kind == NUMBER and ordering:
    raise UsageError(f'{where}: expected {claim.expected!r}: a published number is a number')
  if claim.kind == DERIVED and not claim.computed:
    raise UsageError(f'{where}: kind computed: study must be module:function(arguments)')
  if claim.kind == ORDERING and ordering and claim.expected[2:] != '01'[claim.relative]:
    raise UsageError(
      f'{where}: expected {claim.expected!r}: orderings have no margin; accepted are > and < '
      f'{"01"[claim.relative]}'
    )


def to_csv(claims: Sequence[Claim]) -> str:
  """The text of claims.csv."""
  out = io.StringIO(newline='')
  writer = csv.DictWriter(out, COLUMNS, lineterminator='\n')
  writer.writeheader()
  writer.writerows(dataclasses.asdict(claim) for claim in claims)
  return out.getvalue()

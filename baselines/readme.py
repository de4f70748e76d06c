"""The README of a paper's folder, and of all, written from the claims."""

import ast
import collections
from collections.abc import Callable, Mapping, Sequence
import pathlib
import re
import textwrap

from baselines import claims, figures, protocols
from baselines.claims import Claim

_SPOKEN = {
  'R': 'read in the paper or its authors’ code',
  'R2': 'read in a secondary source',
  'C': 'computed again from the published formula',
  'M+': 'remembered, beside values of the same table that were read',
  'X': 'the paper gives no number that could be read',
}


def about(folder: pathlib.Path) -> tuple[str, str]:
  """Title and text of a paper: the docstring of its folder's package."""
  text = ast.get_docstring(ast.parse((folder / '__init__.py').read_text())) or ''
  title, _, rest = text.partition('\n')
  return title, rest.strip()


def render(folder: pathlib.Path, ledger: Sequence[Claim]) -> str:
  """The README of one paper."""
  title, text = about(folder)
  parts = [
    f'# {title}',
    text,
    'Written from `claims.csv` by `python -m baselines.reproduce --refresh`; '
    'an interval is the 95 % t interval over seeds, a verdict is computed '
    '([how](../README.md)).',
    _counts(ledger),
    _table(ledger),
    *_pictures(folder),
    *_details(ledger),
    _how(folder, ledger),
  ]
  return '\n\n'.join(part for part in parts if part) + '\n'


def _counts(ledger: Sequence[Claim]) -> str:
  """A line for every kind of row; kinds are never added up."""
  lines = []
  for kind in claims.KINDS:
    rows = [claim for claim in protocols.counted(ledger) if claim.kind == kind]
    if rows:
      lines.append(f'- {_PLURAL[kind]}: {_verdicts(rows)}')
  again = len(ledger) - len(protocols.counted(ledger))
  if again:
    lines.append(f'- not counted: {again} with another protocol than the claim had at first')
  return '\n'.join(lines)


def _verdicts(rows: Sequence[Claim]) -> str:
  counts = collections.Counter(claim.verdict for claim in rows)
  return ', '.join(f'{counts[name]} {name}' for name in claims.VERDICTS if counts[name])


def _table(ledger: Sequence[Claim]) -> str:
  rows = [
    [
      f'`{claim.claim}`',
      claim.source,
      claim.statement,
      claim.kind,
      _expected(claim),
      _ours(claim),
      claim.n_seeds or '–',
      claim.scale + (f'; open: {claim.open}' if claim.open else ''),
      f'**{claim.verdict or "not measured"}**',
      claim.minutes or '–',
    ]
    for claim in ledger
  ]
  head = [
    'claim',
    'where',
    'what',
    'kind',
    'expected',
    'ours (interval)',
    'seeds',
    'setting',
    'verdict',
    'minutes',
  ]
  return table(head, rows)


def _expected(claim: Claim) -> str:
  """What is expected, with the tolerance that it has by its kind."""
  return claim.expected if claim.not_run else claims.parse_expectation(claim).text


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A Markdown table."""
  line = lambda cells: '| ' + ' | '.join(cell.replace('|', '\\|') for cell in cells) + ' |'
  return '\n'.join([line(head), '|' + '---|' * len(head), *map(line, rows)])


def _ours(claim: Claim) -> str:
  if claim.verdict in ('', claims.NOT_RUN):
    return '–'
  if not claim.ours:
    return 'not reached'
  return f'{claim.ours} ({claim.low} to {claim.high})' if claim.n_seeds else claim.ours


def _pictures(folder: pathlib.Path) -> list[str]:
  drawn = [(row, figures.file(folder, row)) for row in figures.rows(folder)]
  return [
    f'{row["title"]}:\n\n![{row["title"]}]({path.relative_to(folder)})'
    for row, path in drawn
    if path.exists()
  ]


def _details(ledger: Sequence[Claim]) -> list[str]:
  """Explanations, and what tells how far verdicts can be relied on; each text once."""
  replaced = [
    f'- `{c.claim}` is `{c.replaces}` again, with {_changed(c, ledger)}'
    for c in ledger
    if c.replaces
  ]
  late = [claim.claim for claim in ledger if protocols.is_late(claim)]
  sections = {
    'Where we differ, and notes': _notes(ledger, 'explanation'),
    'Best at the edge of the grid, so at most consistent': _notes(ledger, 'edge'),
    'Again with another protocol': replaced,
    'Protocols that came with their first result': [f'- {_named(late, ledger)}'] if late else [],
    'Not run': _notes(ledger, 'not_run'),
    'How sure the published values are': [
      f'- {mark}: {text} ({_named([c.claim for c in ledger if c.certainty == mark], ledger)})'
      for mark, text in _SPOKEN.items()
      if any(claim.certainty == mark for claim in ledger)
    ],
  }
  return [f'## {head}\n\n' + '\n'.join(lines) for head, lines in sections.items() if lines]


def _changed(claim: Claim, ledger: Sequence[Claim]) -> str:
  """What of the protocol is not that of the claim before."""
  old = next(other for other in ledger if other.claim == claim.replaces)
  changes = [
    f'{name} {getattr(claim, name) or "none"} for {getattr(old, name) or "none"}'
    for name in protocols.SETTLED
    if getattr(claim, name) != getattr(old, name)
  ]
  return '; '.join(changes)


def _notes(ledger: Sequence[Claim], column: str) -> list[str]:
  grouped: Mapping[str, list[str]] = collections.defaultdict(list)
  for claim in ledger:
    if getattr(claim, column):
      grouped[getattr(claim, column)].append(claim.claim)
  return [f'- {_named(names, ledger)}: {text}' for text, names in grouped.items()]


def _named(names: Sequence[str], ledger: Sequence[Claim]) -> str:
  if len(names) == len(ledger) > 1:
    return 'all claims'
  return ', '.join(f'`{name}`' for name in names)


def _how(folder: pathlib.Path, ledger: Sequence[Claim]) -> str:
  tiers = {tier: sum(claim.tier == tier for claim in ledger) for tier in claims.TIERS}
  listed = ', '.join(f'{tier} {count}' for tier, count in tiers.items() if count)
  machines = sorted({claim.machine for claim in ledger if claim.machine})
  lines = [
    '## Again',
    '',
    '```sh',
    f'python -m baselines.reproduce --paper={folder.name} --tier=smoke   # under a minute',
    f'python -m baselines.reproduce --paper={folder.name} --tier=paper   # all claims',
    f'python -m baselines.reproduce --paper={folder.name} --claim={ledger[0].claim}',
    '```',
    '',
    f'Claims by the smallest tier that measures them: {listed}. `results/` has the raw curves.'
    + (f' Measured on: {"; ".join(machines)}.' if machines else ''),
  ]
  return '\n'.join(lines)


Ledgers = Mapping[pathlib.Path, Sequence[Claim]]


def render_all(ledgers: Ledgers) -> str:
  """The README of `baselines/`."""
  found = _counted(ledgers)
  parts = [
    _INTRODUCTION,
    headline(ledgers),
    _by_kind(found, claims.TRAINED, _SETTINGS),
    'Counted apart, as nobody’s published training is repeated by them:',
    _by_kind(found, (claims.DERIVED, claims.OWN), {'': lambda _: True}),
    f'{_RULES}\n\n## Paper by paper\n\n{_CELLS}',
    _by_paper(ledgers),
  ]
  return '\n\n'.join(parts) + '\n'


def _counted(ledgers: Ledgers) -> list[Claim]:
  return [claim for ledger in ledgers.values() for claim in protocols.counted(ledger)]


_SETTINGS: Mapping[str, Callable[[Claim], bool]] = {
  'the paper’s setting': lambda claim: claim.scale in claims.PAPERS_SETTING,
  'smaller, or other data': lambda claim: claim.scale not in claims.PAPERS_SETTING,
}
_PLURAL = {
  claims.NUMBER: 'published numbers, trained here',
  claims.ORDERING: 'published orderings and trends, trained here',
  claims.DERIVED: 'computed: accounting, closed forms, quadratics, errors of compression',
  claims.OWN: 'our own claims',
}


def headline(ledgers: Ledgers) -> str:
  """What has been trained and held against publications in their setting; in one paragraph."""
  found = _counted(ledgers)
  texts = []
  for kind in claims.TRAINED:
    rows = [
      c
      for c in found
      if c.kind == kind and c.scale in claims.PAPERS_SETTING and c.verdict != claims.NOT_RUN
    ]
    texts.append(f'of {len(rows)} {_PLURAL[kind]}, {_verdicts(rows)}')
  exact = sum(c.scale == claims.EXACT and c.kind in claims.TRAINED and bool(c.ours) for c in found)
  return (
    f'In the paper’s setting as far as it is known: {"; ".join(texts)}. '
    f'Everything about the setting is known in {exact or "none"} of these rows.'
  )


def with_headline(page: str, ledgers: Ledgers) -> str:
  """A page with the headline between its marks."""
  text = '\n'.join(textwrap.wrap(headline(ledgers), 100))
  return _MARKS.sub(lambda found: f'{found[1]}\n{text}\n{found[3]}', page)


_MARKS = re.compile(r'(<!-- headline of the ledger -->)(.*?)(<!-- end -->)', re.DOTALL)


def _by_kind(
  found: Sequence[Claim],
  kinds: Sequence[str],
  settings: Mapping[str, Callable[[Claim], bool]],
) -> str:
  rows = []
  for kind in kinds:
    for setting, belongs in settings.items():
      counts = collections.Counter(c.verdict for c in found if c.kind == kind and belongs(c))
      name = ', '.join(filter(None, [_PLURAL[kind], setting]))
      rows.append([name, *(str(counts[verdict]) for verdict in claims.VERDICTS)])
  return table(['rows', *claims.VERDICTS], rows)


def _by_paper(ledgers: Ledgers) -> str:
  rows = []
  for folder, ledger in ledgers.items():
    cells = []
    for kind in claims.KINDS:
      counts = collections.Counter(c.verdict for c in protocols.counted(ledger) if c.kind == kind)
      cells.append(' · '.join(str(counts[v]) for v in claims.VERDICTS) if counts else '–')
    again = len(ledger) - len(protocols.counted(ledger))
    link = f'[{folder.name}]({folder.name}/README.md)'
    rows.append([link, about(folder)[0], *cells, str(again)])
  head = ['folder', 'paper', *claims.KINDS, 'again, not counted']
  return table(head, rows)


_INTRODUCTION = """# Papers, claim by claim

Each folder holds a paper's claims as rows of `claims.csv`: what the paper says and where, how sure
that value is, what was measured here over which seeds with which interval, and a verdict that is
computed from the two. `python -m baselines.reproduce --help` tells how to measure them again.
This page and the folders' READMEs are written by `python -m baselines.reproduce --refresh`."""
_RULES = f"""## Rules

- **Kinds** are counted apart and never added up: a published number, and a published ordering or
  trend, both trained here; what is computed; claims of our own.
- **Setting**: *exact* only where data, model, partition, cohort, batch, epochs and stopping rule
  are the paper's and known; *as far as known* where the column `open` names what is not; *scaled
  down* and *analogue*, other data, are smaller or other.
- **Tolerances** belong to the kind of number, not to a row: accuracies ±{claims.ACCURACY:g}, rounds
  to a target ×{claims.ROUNDS:g}, what is computed half a unit of the last published digit, or the
  paper's own interval where it gives one. Orderings have no margin: above or below 0, or 1 for
  ratios. A claim of our own states its threshold.
- **Intervals** are 95 % t intervals over seeds, of logarithms for ratios and rounds to a target.
- **Verdicts**: *reproduced*, the whole interval lies within the tolerance; *differs*, the two are
  apart, or a run did not reach its target; *consistent*, everything between, also an interval that
  is wider than the tolerance and holds all of it. What is computed without chance is a point.
- A best rate at the **edge of its grid** makes a row consistent at most, until the grid is extended
  (`experiments.sweep --extend_grid`).
- **Initial weights** are each model's own, as its docstring tells: no row sets `--initializer`, and
  papers seldom say which they had. On MNIST at one rate they alone decide 1.6 to 2.8 points.
- **Random numbers**: a row's commit repeats it bit by bit. Since `random_streams.VERSION` is 2, the
  same flags draw other numbers than at the commits of most rows; of these vargaftik2021_drive was
  measured again, and one of its rows now *differs*.
- The **protocol** (study, grid, seeds, measure, what is expected) is registered with its commit
  before the first run, by the program, which refuses a row that was changed afterwards. Another
  protocol is another row, which names the old one (`replaces`); the old verdict stays, and it is
  the one that counts, but for grids extended at their edge. Rows from before this rule have the
  commit in which their protocol first stood; where that is the commit of the first result they say
  `late`."""
_CELLS = f'Cells: {" · ".join(claims.VERDICTS)}, in all settings together.'

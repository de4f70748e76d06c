"""The README of a paper's folder, and of all, written from the claims."""

import ast
import collections
from collections.abc import Mapping, Sequence
import pathlib

from baselines import claims, figures
from baselines.claims import Claim

_SPOKEN = {
  'R': 'read in the paper or its authors’ code',
  'R2': 'read in a secondary source',
  'C': 'computed again from the published formula',
  'M+': 'remembered, beside values of the same table that were read',
  'X': 'the paper gives no number; the claim is ours to state',
}
_HEAD = 'claim|where|what|expected|ours (interval)|seeds|scale|verdict|minutes'


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
    'an interval is the 95 % t interval over seeds, a verdict is computed. '
    f'{_counts(ledger)}',
    _table(ledger),
    *_pictures(folder),
    *_details(ledger),
    _how(folder, ledger),
  ]
  return '\n\n'.join(part for part in parts if part) + '\n'


def _counts(ledger: Sequence[Claim]) -> str:
  counts = collections.Counter(claim.verdict for claim in ledger)
  return ', '.join(f'{counts[name]} {name}' for name in claims.VERDICTS if counts[name]) + '.'


def _table(ledger: Sequence[Claim]) -> str:
  rows = [
    [
      f'`{claim.claim}`',
      claim.source,
      claim.statement,
      claim.expected + (f' {claim.tolerance}' if claim.tolerance else ''),
      _ours(claim),
      claim.n_seeds or '–',
      claim.scale,
      f'**{claim.verdict or "not measured"}**',
      claim.minutes or '–',
    ]
    for claim in ledger
  ]
  head = [
    'claim',
    'where',
    'what',
    'expected',
    'ours (interval)',
    'seeds',
    'scale',
    'verdict',
    'minutes',
  ]
  return table(head, rows)


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
  """Reasons and explanations, claim by claim, each reason once."""
  reasons: dict[str, list[str]] = collections.defaultdict(list)
  for claim in ledger:
    if claim.tolerance_reason:
      reasons[claim.tolerance_reason].append(claim.claim)
  sections = {
    'Tolerances': [f'- {text} ({_named(names, ledger)})' for text, names in reasons.items()],
    'Where we differ, and notes': _notes(ledger, 'explanation'),
    'Not run': _notes(ledger, 'not_run'),
    'How sure the published values are': [
      f'- {mark}: {text} ({_named([c.claim for c in ledger if c.certainty == mark], ledger)})'
      for mark, text in _SPOKEN.items()
      if any(claim.certainty == mark for claim in ledger)
    ],
  }
  return [f'## {head}\n\n' + '\n'.join(lines) for head, lines in sections.items() if lines]


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


def render_all(papers: Mapping[pathlib.Path, Sequence[Claim]]) -> str:
  """The README of `baselines/`."""
  rows = []
  for folder, ledger in papers.items():
    counts = collections.Counter(claim.verdict for claim in ledger)
    exact = sum(c.scale == 'exact' and c.verdict not in ('', claims.NOT_RUN) for c in ledger)
    rows.append(
      [
        f'[{folder.name}]({folder.name}/README.md)',
        about(folder)[0],
        *[str(counts[name]) for name in claims.VERDICTS],
        str(exact),
      ]
    )
  totals = [str(sum(int(row[i]) for row in rows)) for i in range(2, 7)]
  rows.append(['**all**', '', *totals])
  head = ['folder', 'paper', *claims.VERDICTS, 'measured at exact scale']
  return '\n\n'.join([_INTRODUCTION, table(head, rows), _COLUMNS]) + '\n'


_INTRODUCTION = """# Papers, claim by claim

Each folder holds a paper's claims as rows of `claims.csv`: what the paper says and where, how sure
that value is, what was measured here over which seeds with which interval, and a verdict that is
computed from the two. `python -m baselines.reproduce --help` tells how to measure them again.
This page and the folders' READMEs are written by `python -m baselines.reproduce --refresh`."""
_COLUMNS = """*reproduced*: as expected, with the paper's data and settings. *scaled down*: as
expected, but with fewer rounds or clients, or on other data (an *analogue*), as the row says.
*differs*: not as expected; the folder's README says why, as far as is known. *not run*: with the
reason and the hours it would take."""

"""The protocol of a claim: what was settled before its first run, and stays.

`baselines.reproduce --write` registers a row before it is run for the first time: the row must
stand in the last commit, whose name goes into `registered` with a digest of the protocol. A row
that was changed after that is refused. Who wants other seeds, another grid or another measure adds
a row, which names the old one in `replaces`; the old row and its verdict stay.
"""

from collections.abc import Sequence
import csv
import dataclasses
import hashlib
import io
import json
import pathlib
import subprocess

from baselines.claims import Claim
from fl_research.registry import UsageError

SETTLED = ('study', 'grid', 'select', 'seeds', 'measure')
_DIGESTED = (*SETTLED, 'kind', 'expected')
LATE = 'late'


def digest(claim: Claim) -> str:
  """Eight hexadecimal digits of the protocol."""
  text = json.dumps([getattr(claim, name) for name in _DIGESTED])
  return hashlib.sha256(text.encode()).hexdigest()[:8]


def commit(claim: Claim) -> str:
  """Where the protocol was registered; empty while it has not been."""
  return claim.registered.split(' ')[0]


def is_late(claim: Claim) -> bool:
  """Whether the protocol came with its first result."""
  return claim.registered.endswith(f' {LATE}')


def check(ledger: Sequence[Claim]) -> None:
  """Sees that no registered protocol was changed, and that replaced rows are there.

  Raises:
    UsageError: one was, or one is not.
  """
  places = {claim.claim: place for place, claim in enumerate(ledger)}
  for place, claim in enumerate(ledger):
    if claim.registered and claim.registered.split(' ')[1:2] != [digest(claim)]:
      raise UsageError(
        f'{claim.claim}: {", ".join(_DIGESTED)} are not those that were registered '
        f'({claim.registered}); let them stay, and add a row with replaces={claim.claim}'
      )
    if claim.replaces and places.get(claim.replaces, place) >= place:
      raise UsageError(f'{claim.claim}: replaces {claim.replaces!r}: no row above it has that name')


def check_kept(folder: pathlib.Path, ledger: Sequence[Claim]) -> None:
  """Sees that every row that the last commit has registered is still there, as it was registered.

  Raises:
    UsageError: one is not.
  """
  kept = {claim.claim: claim.registered for claim in ledger}
  _, text = committed(folder, 'HEAD')
  for row in csv.DictReader(io.StringIO(text, newline='')):
    registered = row.get('registered', '')
    if registered and kept.get(row['claim']) != registered:
      raise UsageError(
        f'{folder.name}/claims.csv: {row["claim"]} was registered ({registered}) and must stay'
      )


def register(folder: pathlib.Path, claim: Claim) -> Claim:
  """The claim with its protocol registered.

  Raises:
    UsageError: the row does not stand in the last commit.
  """
  head, text = committed(folder, 'HEAD')
  if not stands(claim, text, claim.claim):
    raise UsageError(
      f'{folder.name}/claims.csv: {claim.claim} must be committed as it is before its first run: '
      'seeds, grid and measure are registered with that commit'
    )
  return dataclasses.replace(claim, registered=f'{head} {digest(claim)}')


def stands(claim: Claim, text: str, name: str = '') -> bool:
  """Whether a text of claims.csv has the protocol of a claim, in a row of a name or of any."""
  columns = [column for column in SETTLED if column != 'measure' or not claim.computed]
  return any(
    all(row[column] == getattr(claim, column) for column in columns) and name in ('', row['claim'])
    for row in csv.DictReader(io.StringIO(text, newline=''))
  )


def committed(folder: pathlib.Path, commit: str) -> tuple[str, str]:
  """Twelve digits of a commit, and the text of claims.csv in it; empty where there is none."""
  return _git(folder, 'rev-parse', '--short=12', commit), _git(
    folder, 'show', f'{commit}:./claims.csv'
  )


def _git(folder: pathlib.Path, *words: str) -> str:
  try:
    done = subprocess.run(
      ['git', '-C', str(folder), *words], capture_output=True, text=True, check=False
    )
  except OSError:
    return ''
  return done.stdout.strip('\n') if done.returncode == 0 else ''


def extends(claim: Claim, old: Claim) -> bool:
  """Whether a claim only tries more values where the best of an old one was at the edge."""
  same = [getattr(claim, n) == getattr(old, n) for n in _DIGESTED if n != 'grid']
  wide, narrow = _values(claim), _values(old)
  within = all(values <= wide.get(axis, set()) for axis, values in narrow.items())
  return bool(old.edge) and all(same) and set(wide) == set(narrow) and within


def _values(claim: Claim) -> dict[str, set[str]]:
  parts = [axis.rpartition('=')[::2] for axis in claim.grid.split(';') if axis.strip()]
  return {axis.strip(): {v.strip() for v in values.split(',')} for axis, values in parts}


def counted(ledger: Sequence[Claim]) -> list[Claim]:
  """The claims that are counted: each once, by the first protocol that it had.

  An extended grid is the exception that the rules provide for: it counts in the old one's place.
  Rows with other seeds or another measure stand in the ledger, but were chosen with the first
  result in sight.
  """
  known = {claim.claim: claim for claim in ledger}
  wider = {c.claim: c.replaces for c in ledger if c.replaces and extends(c, known[c.replaces])}

  def first(claim: Claim) -> bool:
    return not claim.replaces or (claim.claim in wider and first(known[claim.replaces]))

  return [claim for claim in ledger if first(claim) and claim.claim not in wider.values()]


def fullest(ledger: Sequence[Claim]) -> list[Claim]:
  """Of rows that are one claim about the same study only that with most seeds, or the newest."""
  best: dict[tuple[str, str], Claim] = {}
  roots: dict[str, str] = {}
  for claim in ledger:
    roots[claim.claim] = roots.get(claim.replaces, claim.claim)
    key = roots[claim.claim], claim.study
    if key not in best or len(claim.seed_list) >= len(best[key].seed_list):
      best[key] = claim
  return [claim for claim in ledger if claim in best.values()]

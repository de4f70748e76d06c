"""What is said of a user's files when a run reads them."""

import contextlib
import sys

from fl_research.importing.roles import PLAIN
from fl_research.importing.source import Source

_SAID = ('number', 'date', 'identifier', 'text', 'ignored')


def say(source: Source) -> None:
  """Says on stderr what was found, to whoever is still listening."""
  for line in lines(source):
    with contextlib.suppress(BrokenPipeError):
      print(line, file=sys.stderr, flush=True)


def lines(source: Source) -> list[str]:
  """What was found, in a few lines: the whole, columns that are not as they seem, notes."""
  found, counts = source.found, source.counts
  count = f'{len(counts.ids)} client{"" if len(counts.ids) == 1 else "s"}'
  clients = 'nobody' if source.pooled else f'{found.clients}: {count}'
  train, test = int(counts.train.sum()), int(counts.test.sum())
  rows = 'rows' if found.columns else 'examples'
  said = [f'{found.form}; clients: {clients}; {train} + {test} {rows}; label {found.label}']
  for role in _SAID:
    columns = [c for c in found.columns if c.role == role and c.reason != PLAIN]
    named = [f'{c.name} ({c.reason})' for c in columns]
    word = 'left out' if role in ('text', 'ignored') else f'{role}'
    if named:
      more = f' and {len(named) - 5} more' if len(named) > 5 else ''
      said.append(f'{word}: {", ".join(named[:5])}{more}')
  also = [c.name for c in found.columns if c.role == 'client' and ';' in c.treatment]
  said += [f'identifier: {name} (the clients are ids as well)' for name in also]
  notes = list(found.notes)
  rest = [f'… and {len(notes) - 5} more such notes'] if len(notes) > 5 else []
  return said + notes[:5] + rest

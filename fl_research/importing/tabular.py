"""The user's own tables as a task: `--task=tabular --data_file=…`.

A CSV or Parquet file, or a folder of them; `docs/own_data.md` tells what is found out and what
flags say. What was found is said in a few lines on standard error.
"""

import contextlib
import sys
from typing import Union

from fl_research.datasets.federated_data import DatasetOptions, FederatedData, PooledData
from fl_research.importing import memory
from fl_research.importing.table_source import TableSource
from fl_research.registry import UsageError

_SAID = ('date', 'identifier', 'text', 'ignored')


def load(options: DatasetOptions) -> Union[FederatedData, PooledData]:
  """Reads the tables `options.data_file`, by client where somebody says whose a row is.

  Raises:
    UsageError: a file, a column or a value cannot be used; one line that names it.
  """
  source = open_source(options)
  if source.pooled and (options.partition or 'natural') == 'natural':
    raise UsageError(
      f'--client_column is missing: it says which column of {options.data_file} tells whose a row '
      'is; or let --partition=iid --num_clients=10 deal the rows out'
    )
  for line in summary(source):
    with contextlib.suppress(BrokenPipeError):
      print(line, file=sys.stderr, flush=True)
  return memory.read(source)


def open_source(options: DatasetOptions) -> TableSource:
  """The tables, opened: what is in them is known.

  Raises:
    UsageError: as `load`.
  """
  if not options.data_file:
    raise UsageError('--data_file is missing: a CSV or Parquet file, or a folder of them')
  return TableSource(options)


def summary(source: TableSource) -> list[str]:
  """What was found, in a few lines: the whole, columns that are not as they seem, notes."""
  found, counts = source.found, source.counts
  count = f'{len(counts.ids)} client{"" if len(counts.ids) == 1 else "s"}'
  clients = 'nobody' if source.pooled else f'{found.clients}: {count}'
  train, test = int(counts.train.sum()), int(counts.test.sum())
  lines = [f'{found.form}; clients: {clients}; {train} + {test} rows; label {found.label}']
  for role in _SAID:
    named = [f'{c.name} ({c.reason})' for c in found.columns if c.role == role]
    word = 'left out' if role in ('text', 'ignored') else f'{role}'
    if named:
      more = f' and {len(named) - 5} more' if len(named) > 5 else ''
      lines.append(f'{word}: {", ".join(named[:5])}{more}')
  also = [c.name for c in found.columns if c.role == 'client' and ';' in c.treatment]
  lines += [f'identifier: {name} (the clients are ids as well)' for name in also]
  notes = list(found.notes)
  rest = [f'… and {len(notes) - 5} more such notes'] if len(notes) > 5 else []
  return lines + notes[:5] + rest

"""What was found in a user's files, as tables for a terminal."""

from collections.abc import Mapping, Sequence
import sys
from typing import Optional

import numpy as np
import rich.console
import rich.table

from fl_research.importing.source import Source

_MOST_COLUMNS = 40
_WIDTH = 120
_MOST_CLASSES = 12

_SIZES = ('examples_min', 'examples_median', 'examples_max')
_INEQUALITY = {
  'examples_min': 'fewest examples of a client',
  'examples_median': 'median',
  'examples_max': 'most',
  'examples_gini': 'Gini of the sizes (0: all equal, 1: one has all)',
  'label_js_divergence_mean': "labels' Jensen-Shannon divergence (0: alike, to 1)",
  'label_emd_mean': "labels' distance from the common ones (0 to 2)",
}


def facts(source: Source) -> dict[str, str]:
  """What is there, in a few lines."""
  found, spec, counts = source.found, source.spec, source.counts
  train, test = int(counts.train.sum()), int(counts.test.sum())
  who = found.clients if source.pooled else f'{len(counts.ids)}: {found.clients}'
  shape = ' x '.join(map(str, spec.x_shape)) or '1'
  rows = {
    'form': found.form,
    'clients': who,
    'examples': f'{train + test}: {train} for training, {test} for testing',
    'an example': f'{np.dtype(spec.x_dtype).name} {shape}',
    'label': f'{found.label} ({spec.problem.value})',
  }
  if found.classes:
    more = f', ... ({len(found.classes)})' if len(found.classes) > _MOST_CLASSES else ''
    rows['classes'] = ', '.join(map(str, found.classes[:_MOST_CLASSES])) + more
  return rows


def inequality(measures: Mapping[str, Optional[float]]) -> dict[str, str]:
  """How unequal clients are, in words."""
  return {
    words: f'{measures[name]:.10g}' if name in _SIZES else f'{measures[name]:.4f}'
    for name, words in _INEQUALITY.items()
    if measures.get(name) is not None
  }


def print_rows(title: str, rows: Mapping[str, str]) -> None:
  """Prints a table of two columns."""
  table = rich.table.Table(title=title, show_header=False, title_justify='left')
  table.add_column(no_wrap=True)
  table.add_column()
  for name, value in rows.items():
    table.add_row(_plain(name), _plain(value))
  _print(table)


def print_columns(source: Source) -> None:
  """Prints what becomes of every column, where the files are a table."""
  columns = source.found.columns
  if not columns:
    return
  table = rich.table.Table(title='Columns', title_justify='left')
  for name in ('column', 'role', 'why', 'what is done with it', 'missing', 'different'):
    justify: rich.console.JustifyMethod = 'right' if name in ('missing', 'different') else 'left'
    table.add_column(name, justify=justify, overflow='fold')
  for own in columns[:_MOST_COLUMNS]:
    distinct = '' if own.distinct is None else str(own.distinct)
    cells = (own.name, own.role, own.reason, own.treatment, str(own.missing or ''), distinct)
    table.add_row(*map(_plain, cells))
  _print(table)
  if len(columns) > _MOST_COLUMNS:
    print(f'and {len(columns) - _MOST_COLUMNS} more columns')


def print_notes(notes: Sequence[str]) -> None:
  """Prints what the user should know."""
  for note in notes:
    print(f'- {note}')


def _plain(value: str) -> str:
  """Text in which rich sees no markup."""
  return str(value).replace('[', r'\[')


def _print(table: rich.table.Table) -> None:
  # In a file there is room for what a narrow window would break.
  console = rich.console.Console(width=None if sys.stdout.isatty() else _WIDTH)
  # Printed by us, as rich would end the program with code 1 when nobody reads it (`| head -1`).
  with console.capture() as captured:
    console.print(table)
  print(captured.get(), end='')

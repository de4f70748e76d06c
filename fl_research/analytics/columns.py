"""What of clients' data is counted: their number of examples, labels, or a column of a table."""

from collections.abc import Sequence

import numpy as np

from fl_research.analytics.analysis import Setup
from fl_research.datasets.federated_data import Problem
from fl_research.importing.surveyed_table import SurveyedTable
from fl_research.registry import suggestion, UsageError
from fl_research.settings import Settings
from fl_research.training import run_data

NUM_EXAMPLES, LABEL = 'num_examples', 'label'
_CHOICES = (Problem.CLASSIFICATION, Problem.BINARY)


def numbers(setup: Setup) -> list[np.ndarray]:
  """The numbers of each training client, by position: float64 [n_k].

  Raises:
    UsageError: `--column` names no numbers.
  """
  column, train = setup.column, setup.data.train
  if column == NUM_EXAMPLES:
    return [np.array([size], np.float64) for size in train.sizes]
  if column == LABEL:
    labels = (train.examples(k)['y'] for k in range(len(train)))
    return [np.asarray(y, np.float64).reshape(-1) for y in labels]
  cells = _cells(setup)
  try:
    return [_finite(np.asarray(own, np.float64)) for own in cells]
  except ValueError as error:
    raise UsageError(f'--column={column}: is not of numbers ({error})') from error


def texts(setup: Setup) -> list[np.ndarray]:
  """The texts, or names, of each training client, by position: arrays of `str`.

  Raises:
    UsageError: there are none in `--column`.
  """
  data = setup.data
  if setup.column != LABEL:
    return [np.array([str(cell) for cell in own], str) for own in _cells(setup)]
  if data.problem not in _CHOICES:
    raise UsageError(
      f'--column={LABEL}: the labels are no classes; accepted is a column of --data_file'
    )
  names = np.array(data.class_names or range(data.num_classes), str)
  return [names[data.train.examples(k)['y']] for k in range(len(data.train))]


def _finite(values: np.ndarray) -> np.ndarray:
  return values[np.isfinite(values)]


def _cells(setup: Setup) -> Sequence[Sequence]:
  """What each training client has in a column of the user's table, missing values left out.

  All its rows count, those that a run of training would keep for its test too.
  """
  settings, column = setup.settings, setup.column
  table = _table(settings, column)
  position = {client: k for k, client in enumerate(setup.data.train.ids)}
  own: list[list] = [[] for _ in position]
  for rows, owners, _ in table.again([column]):
    cells = rows.table[column]
    there = cells.notna().to_numpy()
    for cell, owner in zip(cells.to_numpy()[there], owners[there]):
      place = position.get(table.counts.ids[owner])
      if place is not None:
        own[place].append(cell)
  return own


def _table(settings: Settings, column: str) -> SurveyedTable:
  """The user's table.

  Raises:
    UsageError: there is none, it has no such column, or its rows are nobody's.
  """
  always = f'{NUM_EXAMPLES} or {LABEL}'
  if settings.task != 'tabular':
    raise UsageError(
      f'--column={column}: {settings.task} has no columns; accepted is {always}, or a column of '
      'your own --data_file, a table'
    )
  table = SurveyedTable(run_data.options(settings))
  if column not in table.roles:
    raise UsageError(
      f'--column={column}: {settings.data_file} has no such column'
      f'{suggestion(column, table.roles)}; accepted are {", ".join(table.roles)}, or {always}'
    )
  if table.pooled or settings.partition not in ('', 'natural'):
    raise UsageError(
      f'--column={column}: rows are whose --client_column says, which must be given, and '
      '--partition left out'
    )
  return table

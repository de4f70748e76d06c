"""What of clients' data is counted: their number of examples, labels, or a column of a table."""

import collections
from collections.abc import Sequence
import math
import re

import numpy as np

from fl_research.analytics.analysis import Setup
from fl_research.datasets import shakespeare
from fl_research.datasets.federated_data import Problem
from fl_research.importing.surveyed_table import SurveyedTable
from fl_research.registry import suggestion, UsageError
from fl_research.settings import Settings
from fl_research.training import run_data

NUM_EXAMPLES, LABEL, WORDS = 'num_examples', 'label', 'words'
_SPOKEN = ('shakespeare', 'tff_shakespeare')
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
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
  _, cells = _cells(setup)
  try:
    return [_finite(np.asarray(own, np.float64)) for own in cells]
  except ValueError as error:
    raise UsageError(f'--column={column}: is not of numbers ({error})') from error


def texts(setup: Setup) -> list[np.ndarray]:
  """The words, or names, of each training client, by position: arrays of `str`.

  What a cell of a table holds is one name, but for texts (the column's role), of which every word
  is one. Words are in small letters.

  Raises:
    UsageError: there are none in `--column`.
  """
  train = setup.data.train
  if setup.column == LABEL:
    return [_names(setup, train.examples(k)['y']) for k in range(len(train))]
  if setup.column == WORDS and setup.settings.task in _SPOKEN:
    return [_spoken(train.examples(k)['y']) for k in range(len(train))]
  table, cells = _cells(setup)
  split = _words if table.roles[setup.column].role == 'text' else lambda cell: [cell]
  return [np.array([word for cell in own for word in split(str(cell))], str) for own in cells]


def encoded(words: np.ndarray) -> np.ndarray:
  """Words as TensorFlow has them, in UTF-8: object [n]."""
  return np.array([word.encode() for word in words.tolist()], object)


def most_frequent(words: Sequence[bytes]) -> list[bytes]:
  """The different words, the most frequent first, equally frequent ones in alphabetical order."""
  counts = collections.Counter(words)
  return sorted(counts, key=lambda word: (-counts[word], word))


def recall(truth: Sequence[bytes], found: Sequence[bytes]) -> float:
  """The share of the truth that was found; NaN where there is none."""
  return len(set(truth) & set(found)) / len(truth) if truth else math.nan


def _names(setup: Setup, labels: np.ndarray) -> np.ndarray:
  """The names of labels: of classes, or of tags, of which each example has several."""
  data = setup.data
  if data.problem not in (*_CHOICES, Problem.MULTILABEL):
    raise UsageError(
      f'--column={LABEL}: the labels are no classes; accepted is a column of --data_file, or '
      f'{WORDS} of the tasks {" and ".join(_SPOKEN)}'
    )
  names = np.array(data.class_names or range(max(data.num_classes, 2)), str)
  return names[np.nonzero(labels)[1] if data.problem is Problem.MULTILABEL else labels]


def _spoken(labels: np.ndarray) -> np.ndarray:
  """The words of a role of Shakespeare's: its labels are all of its characters in order."""
  tokens = labels.reshape(-1)
  letters = np.array(['', *shakespeare.VOCABULARY, ' ', '', ' '])
  return np.array(_words(''.join(letters[tokens])), str)


def _words(text: str) -> list[str]:
  return _WORD.findall(text.lower())


def _finite(values: np.ndarray) -> np.ndarray:
  return values[np.isfinite(values)]


def _cells(setup: Setup) -> tuple[SurveyedTable, Sequence[Sequence]]:
  """The user's table, and what each training client has in a column, missing values left out.

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
  return table, own


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

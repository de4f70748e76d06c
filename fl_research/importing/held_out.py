"""What a reader leaves to others: test examples where the files have none, the unit of numbers."""

from collections.abc import Iterable, Iterator
import dataclasses
import functools
from typing import Optional

import numpy as np

from fl_research import random_streams
from fl_research.datasets.federated_data import LabelScale, Problem
from fl_research.datasets.splits import held_out_counts, held_out_rows
from fl_research.importing.source import Counts, Part, Source


class HeldOut(Source):
  """A source of training examples only, of which a fifth of each client's becomes its test part.

  Args:
    source: the source.
    seed: from which the rows are drawn.
  """

  def __init__(self, source: Source, seed: int):
    self._source = source
    self._seed = seed
    self.spec = source.spec
    self.pooled = source.pooled
    whose = '' if source.pooled else " of each client's"
    note = f'no test examples in the files: a fifth{whose}, drawn from --seed, is held out'
    self.found = dataclasses.replace(source.found, notes=(*source.found.notes, note))
    test = held_out_counts(source.counts.train)
    self._sizes = source.counts.train
    self.counts = Counts(source.counts.ids, source.counts.train - test, test)
    self._mask = functools.lru_cache(maxsize=16)(self._drawn)

  @property
  def files(self):  # type: ignore[override]
    return self._source.files

  @property
  def preprocessing(self):  # type: ignore[override]
    return self._source.preprocessing

  def _drawn(self, client: int) -> np.ndarray:
    rng = random_streams.generator(self._seed, 'own test rows', client)
    return held_out_rows(np.zeros(self._sizes[client]), rng)

  def parts(self) -> Iterator[Part]:
    seen = np.zeros(len(self._sizes), np.int64)
    for part in self._source.parts():
      first = int(seen[part.client])
      seen[part.client] += len(part.examples['y'])
      held = self._mask(part.client)[first : first + len(part.examples['y'])]
      # Files that have grown since they were counted: `Places` says so.
      held = np.pad(held, (0, len(part.examples['y']) - len(held)))
      for test in (False, True):
        rows = held == test
        if rows.any():
          examples = {key: array[rows] for key, array in part.examples.items()}
          yield Part(part.client, test, examples)


def complete(source: Source, seed: int) -> Source:
  """The source with test examples, and with the unit of its labels where they are numbers."""
  whole = source if source.counts.test.any() else HeldOut(source, seed)
  if source.spec.problem is Problem.REGRESSION and source.spec.label_scale is None:
    labels = (part.examples['y'] for part in whole.parts() if not part.test)
    whole.spec = dataclasses.replace(whole.spec, label_scale=label_scale(labels))
  return whole


def label_scale(labels: Iterable[np.ndarray]) -> Optional[LabelScale]:
  """Mean and deviation of training labels, which come a few at a time; None where all are equal."""
  count, total, squares, shift = 0, 0.0, 0.0, None
  for own in labels:
    numbers = np.asarray(own, np.float64)
    # Sums of squares around a number near the mean lose no digits.
    shift = numbers[0] if shift is None else shift
    count += len(numbers)
    total += (numbers - shift).sum(axis=0)
    squares += np.square(numbers - shift).sum(axis=0)
  if shift is None:
    return None
  deviation = np.sqrt(np.maximum(squares / count - np.square(total / count), 0.0))
  if not np.any(deviation > 0):
    return None
  deviation = np.where(deviation > 0, deviation, 1.0)
  mean = np.asarray(shift + total / count, np.float32)
  return LabelScale(mean, np.asarray(deviation, np.float32))

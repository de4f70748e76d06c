"""Test examples for sources whose files have none."""

from collections.abc import Iterator
import dataclasses
import functools

import numpy as np

from fl_research import random_streams
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


def with_test(source: Source, seed: int) -> Source:
  """The source itself if it has test examples, else with some held out."""
  return source if source.counts.test.any() else HeldOut(source, seed)

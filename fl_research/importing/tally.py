"""What going through a source's examples once shows: whose labels are what."""

from collections.abc import Callable, Iterator
from typing import Optional

import numpy as np
import scipy.sparse

from fl_research.datasets.federated_data import ContiguousClients, Problem
from fl_research.datasets.label_counts import label_counts, LABELLED
from fl_research.datasets.passport import label_skew
from fl_research.gini import gini
from fl_research.importing.places import Places
from fl_research.importing.source import Part, Source

_MOST_COUNTS = 20_000_000


class Tally:
  """Counts of training labels by client, added up part by part.

  Args:
    source: whose parts are added.

  Attributes:
    counts: int64 [clients, classes]; None where labels are no choices from a list, or clients and
      classes are too many.
  """

  def __init__(self, source: Source):
    self._problem = source.spec.problem
    self._sizes = source.counts.train
    cells = len(source.counts.ids) * source.spec.num_classes
    counted = self._problem in LABELLED and cells <= _MOST_COUNTS
    shape = (len(source.counts.ids), source.spec.num_classes)
    self.counts = np.zeros(shape, np.int64) if counted else None

  def add(self, part: Part) -> None:
    """Counts the labels of a part, if it is for training."""
    if self.counts is None or part.test or not len(part.examples['y']):
      return
    y = np.asarray(part.examples['y'])
    own = label_counts(
      ContiguousClients({'x': y, 'y': y}, np.array([0, len(y)])), self._problem
    ).toarray()[0]
    self.counts[part.client, : len(own)] += own

  def inequality(self) -> dict[str, Optional[float]]:
    """How unequal the training clients are, by the names that a run's manifest has."""
    sizes = self._sizes[self._sizes > 0]
    divergence, distance = None, None
    if self.counts is not None and self.counts.sum():
      divergence, distance = label_skew(scipy.sparse.csr_matrix(self.counts[self._sizes > 0]))
    return {
      'examples_min': int(sizes.min()) if len(sizes) else None,
      'examples_median': float(np.median(sizes)) if len(sizes) else None,
      'examples_max': int(sizes.max()) if len(sizes) else None,
      'examples_gini': gini(sizes) if len(sizes) else None,
      'label_js_divergence_mean': divergence,
      'label_emd_mean': distance,
    }


def go_through(source: Source, watch: Callable[[Part], None]) -> None:
  """Reads all parts, for what is to be learnt from them and whether they can be read at all."""
  places = Places(source)
  for part in source.parts():
    places.take(part)
    watch(part)
  places.check_full()


def lonely_classes(tally: Tally, source: Source, most: int = 3) -> Iterator[str]:
  """A line for classes that one client only has, and for those that nobody trains on."""
  if tally.counts is None or source.pooled or len(source.counts.ids) < 2:
    return
  if source.spec.problem is Problem.NEXT_TOKEN:
    return
  holders = (tally.counts > 0).sum(axis=0)
  name = lambda k: source.found.classes[k] if k < len(source.found.classes) else str(k)
  alone = np.flatnonzero(holders == 1)
  for k in alone[:most]:
    owner = source.counts.ids[int(np.flatnonzero(tally.counts[:, k])[0])]
    yield f'class {name(k)} is in the training examples of {owner} only'
  if len(alone) > most:
    yield f'{len(alone) - most} more classes are in those of one client only'
  nobody = np.flatnonzero(holders == 0)
  if len(nobody):
    listed = ', '.join(name(k) for k in nobody[:most])
    yield f'{len(nobody)} classes have no training example ({listed})'

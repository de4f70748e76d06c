"""Examples as points, and how well centres stand among them."""

from collections.abc import Iterator, Mapping
from typing import Any, Optional

import numpy as np

from fl_research.datasets.federated_data import Examples, Problem
from fl_research.registry import UsageError
from fl_research.settings import Settings
from fl_research.training.run_data import RunData

_ROWS_AT_A_TIME = 10_000
_LABELLED = (Problem.CLASSIFICATION, Problem.BINARY)


def vectors(examples: Examples) -> np.ndarray:
  """The inputs of examples as points, float32 [n, d]."""
  x = examples['x']
  return np.asarray(x.reshape(len(x), -1), np.float32)


def dimension(settings: Settings, data: RunData) -> int:
  """d, how many numbers a point has.

  Raises:
    UsageError: the examples are no numbers.
  """
  x = data.train.examples(int(np.flatnonzero(data.train.sizes)[0]))['x']
  if x.dtype.kind != 'f':
    raise UsageError(
      f'--task={settings.task}: its examples are text or other codes, and no points; '
      'accepted are tasks of numbers or pictures'
    )
  return vectors({'x': x}).shape[1]


def nearest(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """For each point the nearest centre, and its squared distance: int64 [n], float64 [n].

  Args:
    points: [n, d].
    centres: [K, d].
  """
  centres = centres.astype(points.dtype)
  # |x - c|² = |x|² - 2 x·c + |c|², of which all but |x|² decides which is nearest.
  chosen = ((centres**2).sum(axis=1) - 2 * points @ centres.T).argmin(axis=1)
  apart = points - centres[chosen]
  return chosen, np.einsum('nd,nd->n', apart, apart, dtype=np.float64)


def purity(clusters: np.ndarray, labels: np.ndarray) -> float:
  """The share of examples whose label is the most frequent one of their cluster."""
  classes, codes = np.unique(labels, return_inverse=True)
  counts = np.zeros((clusters.max() + 1, len(classes)), np.int64)
  np.add.at(counts, (clusters, codes), 1)
  return float(counts.max(axis=1).sum() / len(labels))


class Judge:
  """Measures centres on all training examples and on the test examples, as a simulation can.

  Args:
    data: the examples.
  """

  def __init__(self, data: RunData):
    self._sets = {'train_set': data.train.pooled(), 'eval': data.test}
    self._labelled = data.problem in _LABELLED

  def measures(self, centres: np.ndarray) -> dict[str, Optional[float]]:
    """`<set>/inertia`, the mean squared distance to the nearest centre, and `<set>/purity`."""
    row: dict[str, Any] = {}
    for name, examples in self._sets.items():
      clusters, distances = self._assigned(examples, centres)
      row[f'{name}/inertia'] = float(distances.mean()) if len(distances) else None
      if self._labelled:
        labels = examples['y']
        row[f'{name}/purity'] = purity(clusters, labels) if len(labels) else None
    return row

  def _assigned(self, examples: Examples, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = [nearest(vectors(part), centres) for part in parts(examples)]
    clusters, distances = zip(*found) if found else ([np.zeros(0, np.int64)], [np.zeros(0)])
    return np.concatenate(clusters), np.concatenate(distances)


def parts(examples: Examples) -> Iterator[Mapping[str, np.ndarray]]:
  """The inputs of examples, a part at a time."""
  for begin in range(0, len(examples['x']), _ROWS_AT_A_TIME):
    yield {'x': examples['x'][begin : begin + _ROWS_AT_A_TIME]}


def rows_of_centres(centres: np.ndarray, sizes: np.ndarray, counted: str) -> list[dict[str, Any]]:
  """Centres as rows of a CSV: `cluster`, how much stands behind it, `x0`, `x1`, …"""
  return [
    {'cluster': k, counted: size, **{f'x{i}': value for i, value in enumerate(centre)}}
    for k, (centre, size) in enumerate(zip(centres, sizes))
  ]

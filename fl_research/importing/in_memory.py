"""A source's examples gathered in memory."""

from collections.abc import Mapping
import math
from typing import Any

import numpy as np

from fl_research import aligned
from fl_research.datasets.federated_data import ContiguousClients, FederatedData, PooledData
from fl_research.importing.source import Source, Spec


class _Arrays:
  """One array of x and one of y for all clients, filled part by part.

  Args:
    spec: what an example is.
    sizes: how many of them the clients have.
  """

  def __init__(self, spec: Spec, sizes: np.ndarray):
    self.offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    self.x = _empty(int(self.offsets[-1]), spec.x_shape, spec.x_dtype)
    self.y = _empty(int(self.offsets[-1]), spec.y_shape, spec.y_dtype)
    self._filled = self.offsets[:-1].copy()

  def add(self, client: int, examples: Mapping[str, np.ndarray]) -> None:
    start = int(self._filled[client])
    stop = start + len(examples['y'])
    self.x[start:stop], self.y[start:stop] = examples['x'], examples['y']
    self._filled[client] = stop

  def clients(self, ids) -> ContiguousClients:
    """Those of the clients that have examples."""
    present = np.flatnonzero(np.diff(self.offsets))
    offsets = np.append(self.offsets[present], self.offsets[-1])
    return ContiguousClients({'x': self.x, 'y': self.y}, offsets, [ids[k] for k in present])


def to_federated(source: Source) -> FederatedData:
  """The examples by client.

  Raises:
    UsageError: a file is damaged.
  """
  train, test = _gathered(source)
  tested = test.clients(source.counts.ids)
  return FederatedData(
    train=train.clients(source.counts.ids),
    test=tested.pooled(),
    test_clients=tested,
    **_shared(source),
  )


def to_pooled(source: Source) -> PooledData:
  """The examples without their clients, to be dealt out."""
  train, test = _gathered(source)
  return PooledData(
    train={'x': train.x, 'y': train.y}, test={'x': test.x, 'y': test.y}, **_shared(source)
  )


def _gathered(source: Source) -> tuple[_Arrays, _Arrays]:
  counts = source.counts
  train, test = _Arrays(source.spec, counts.train), _Arrays(source.spec, counts.test)
  for part in source.parts():
    (test if part.test else train).add(part.client, part.examples)
  return train, test


def _shared(source: Source) -> dict[str, Any]:
  spec = source.spec
  return {
    'problem': spec.problem,
    'num_classes': spec.num_classes,
    'sources': dict(source.files),
    'inputs': spec.inputs,
    'label_scale': spec.label_scale,
    'class_names': tuple(source.found.classes),
    'preprocessing': source.preprocessing,
  }


def _empty(rows: int, shape: tuple[int, ...], dtype) -> np.ndarray:
  return aligned.empty(rows * math.prod(shape), dtype).reshape(rows, *shape)

"""A source's examples gathered in memory."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np

from fl_research import aligned
from fl_research.datasets.federated_data import ContiguousClients, FederatedData, PooledData
from fl_research.importing.source import Source


@dataclasses.dataclass
class _Arrays:
  """One array of x and one of y for all clients, filled part by part."""

  offsets: np.ndarray
  x: np.ndarray
  y: np.ndarray
  filled: np.ndarray

  @classmethod
  def empty(cls, source: Source, sizes: np.ndarray) -> '_Arrays':
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    spec = source.spec
    arrays = [
      aligned.empty(int(offsets[-1] * np.prod(shape, dtype=np.int64)), np.dtype(dtype)).reshape(
        int(offsets[-1]), *shape
      )
      for shape, dtype in ((spec.x_shape, spec.x_dtype), (spec.y_shape, spec.y_dtype))
    ]
    return cls(offsets, *arrays, offsets[:-1].copy())

  def add(self, client: int, examples: Mapping[str, np.ndarray]) -> None:
    start = int(self.filled[client])
    stop = start + len(examples['y'])
    self.x[start:stop], self.y[start:stop] = examples['x'], examples['y']
    self.filled[client] = stop

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
  train, test = _Arrays.empty(source, counts.train), _Arrays.empty(source, counts.test)
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

"""A source read into memory, as the data of a run."""

from collections.abc import Callable, Mapping
from typing import Any, Union

import numpy as np

from fl_research import aligned
from fl_research.datasets.federated_data import (
  Clients,
  ContiguousClients,
  Examples,
  FederatedData,
  PooledData,
)
from fl_research.importing import summary
from fl_research.importing.places import Places
from fl_research.importing.source import Counts, Found, Part, Source, Spec
from fl_research.registry import UsageError

Data = Union[FederatedData, PooledData]


def read(source: Source) -> Data:
  """All examples of a source, in memory.

  Raises:
    UsageError: the files turn out damaged, or nobody has test examples.
  """
  summary.say(source)
  totals = {False: int(source.counts.train.sum()), True: int(source.counts.test.sum())}
  arrays = {test: _empty(source.spec, rows) for test, rows in totals.items()}
  places = Places(source)
  for part in source.parts():
    first, last = places.take(part)
    for key, rows in part.examples.items():
      arrays[part.test][key][first:last] = rows
  places.check_full()
  facts = {
    'sources': dict(source.files),
    'preprocessing': dict(source.preprocessing),
    'class_names': tuple(source.found.classes),
  }
  counts = source.counts
  clients_of = lambda arrays, test: clients(arrays, counts, counts.test if test else counts.train)
  return assemble(source.spec, source.pooled, arrays[False], arrays[True], clients_of, facts)


def _empty(spec: Spec, rows: int) -> dict[str, np.ndarray]:
  make = lambda shape, dtype: aligned.empty(rows * int(np.prod(shape)), dtype).reshape(rows, *shape)
  return {'x': make(spec.x_shape, spec.x_dtype), 'y': make(spec.y_shape, spec.y_dtype)}


def assemble(
  spec: Spec,
  pooled: bool,
  train: Examples,
  test: Examples,
  clients_of: Callable[[Examples, bool], Clients],
  facts: Mapping[str, Any],
) -> Data:
  """Data from arrays whose rows lie client by client; who has no rows is left out.

  Args:
    spec, pooled: as in `Source`.
    train, test: the arrays.
    clients_of: whose they are, training or (True) test examples.
    facts: further fields of the data.
  """
  common = {
    **{'problem': spec.problem, 'num_classes': spec.num_classes},
    **{'inputs': spec.inputs, 'label_scale': spec.label_scale},
    **facts,
  }
  if not len(test['y']):
    raise UsageError('--data_file: no client has test examples, nor a second example to hold out')
  if not len(train['y']):
    raise UsageError('--data_file: no client has an example to train on')
  if pooled:
    return PooledData(train, test, **common)
  return FederatedData(
    clients_of(train, False), test, test_clients=clients_of(test, True), **common
  )


def clients(arrays: Examples, counts: Counts, sizes: np.ndarray) -> ContiguousClients:
  """The clients that have rows of these arrays."""
  filled = np.flatnonzero(sizes)
  offsets = np.concatenate([[0], np.cumsum(sizes[filled])])
  ids = counts.ids if len(filled) == len(sizes) else [counts.ids[k] for k in filled]
  return ContiguousClients(arrays, offsets, ids)


class Loaded(Source):
  """Data that are there already, as a source.

  Args:
    data: the data.
    found: what was found in the files they came from.
  """

  def __init__(self, data: Data, found: Found):
    self.found = found
    self.files = dict(data.sources)
    self.preprocessing = data.preprocessing
    self.pooled = isinstance(data, PooledData)
    train, test = _both(data)
    ids = list(dict.fromkeys([*train.ids, *test.ids]))
    self._position = {client_id: k for k, client_id in enumerate(ids)}
    self._parts = ((train, False), (test, True))
    self.counts = Counts(ids, *(self._sizes(clients) for clients, _ in self._parts))
    first = train.examples(int(np.flatnonzero(train.sizes)[0]))
    self.spec = Spec(
      first['x'].shape[1:], first['x'].dtype, first['y'].shape[1:], first['y'].dtype,
      data.problem, data.num_classes, data.inputs, data.label_scale,
    )  # fmt: skip

  def _sizes(self, clients: Clients) -> np.ndarray:
    sizes = np.zeros(len(self._position), np.int64)
    sizes[[self._position[client_id] for client_id in clients.ids]] = clients.sizes
    return sizes

  def parts(self):
    for clients, test in self._parts:
      for position, client_id in enumerate(clients.ids):
        yield Part(self._position[client_id], test, clients.examples(position))


def _both(data: Data) -> tuple[Clients, Clients]:
  """Training and test clients; one of each where nobody owns an example."""
  if isinstance(data, FederatedData):
    if data.test_clients is not None:
      return data.train, data.test_clients
    return data.train, one_client(data.test)
  return one_client(data.train), one_client(data.test)


def one_client(examples: Examples) -> ContiguousClients:
  """A client called `all` with all of the examples."""
  return ContiguousClients(examples, np.array([0, len(examples['y'])]), ['all'])

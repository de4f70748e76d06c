"""A client's data on its way into a TFF computation: tensors, and the order in which to read them.

TFF's own processes take a `tf.data.Dataset` per client, which costs more to iterate than a small
model costs to train. Here a client is a structure of tensors

    D = <examples=<x=T[?,...], y=U[?,...]>, batches=int32[?,B], num_examples=int32,
         client=int32, seed=int32[2]>

in which every row of `batches` lists the rows of `examples` that form one minibatch, -1 standing
for "no example". Shuffling, epochs, smaller last batches and B = infinity are all in `batches`, so
nothing is copied per epoch. Rows of -1 alone, and examples that no batch names, are padding: they
come last and change nothing.
"""

import collections
from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import functools
import itertools
import math
from typing import Any, Optional

import numpy as np

from fl_research import random_streams
from fl_research.datasets import federated_data
from fl_research.runtime import described

ClientData = Mapping[str, object]
"""One client's D, as nested OrderedDicts of NumPy arrays."""

FULL_BATCH = 0
"""The batch size that stands for B = infinity: all of a client's examples in one batch."""


def batch_order(orders: Sequence[np.ndarray], batch_size: int, epochs: float) -> np.ndarray:
  """Which examples each minibatch reads: `epochs` passes, each in an order of its own.

  As in McMahan et al. 2017, algorithm 1, every epoch splits the client's examples into batches of
  B, the last one smaller. A fractional last epoch reads the first part of its pass, rounded to
  whole batches and to at least one.

  Args:
    orders: for each pass, of which there are `passes(epochs)`, its order of the n examples.
    batch_size: B, at least 1, or `FULL_BATCH`.
    epochs: E > 0.

  Returns:
    int32 [steps, B], padded with -1; for `FULL_BATCH` B is n (at least 1).
  """
  num_examples = len(orders[0])
  batch_size = batch_size or max(num_examples, 1)
  steps_per_epoch = -(-num_examples // batch_size)
  padded = np.full((len(orders), steps_per_epoch * batch_size), -1, np.int32)
  padded[:, :num_examples] = orders
  batches = padded.reshape(len(orders) * steps_per_epoch, batch_size)
  steps = max(1, round(epochs * steps_per_epoch))
  return batches[:steps]


def passes(epochs: float) -> int:
  """How many passes, the last of them perhaps not whole, E epochs make."""
  return math.ceil(epochs)


def client_data(
  examples: federated_data.Examples, *, epochs: float, client: int, **others: Any
) -> ClientData:
  """One client's D for one round; the arguments are those of `cohort_data`, for one client."""
  [data] = cohort_data([examples], epochs=[epochs], clients=[client], **others)
  return data


def cohort_data(
  examples: Sequence[federated_data.Examples],
  *,
  batch_size: int,
  epochs: Sequence[float],
  seed: int,
  round_num: int,
  clients: Sequence[int] | np.ndarray,
  max_examples: Optional[int] = None,
) -> list[ClientData]:
  """The D of each client of a round; none of them depends on who else is in it.

  Args:
    examples: each client's examples.
    batch_size: B, or `FULL_BATCH`.
    epochs: each client's E, possibly fractional (a straggler's part of the work).
    seed: the run's seed.
    round_num: the round, which with the client fixes the shuffles and `D.seed`.
    clients: each client's position in the population.
    max_examples: if given, at most so many examples are used, drawn at random each round.
  """
  clients = [int(client) for client in clients]
  if max_examples is not None:
    keys = [random_streams.key(seed, 'examples of a round', round_num, c) for c in clients]
    examples = _some(examples, keys, max_examples)
  sizes = [len(own['y']) for own in examples]
  counts = [passes(own) for own in epochs]
  orders = iter(
    random_streams.orders(
      [
        random_streams.key(seed, 'batches', round_num, client, number)
        for client, count in zip(clients, counts)
        for number in range(count)
      ],
      np.repeat(sizes, counts),
    )
  )
  return [
    collections.OrderedDict(
      examples=collections.OrderedDict(x=own['x'], y=own['y']),
      batches=batch_order(list(itertools.islice(orders, count)), batch_size, own_epochs),
      num_examples=np.int32(size),
      client=np.int32(client),
      seed=random_streams.stateless_seed(seed, 'client', round_num, client),
    )
    for own, count, own_epochs, size, client in zip(examples, counts, epochs, sizes, clients)
  ]


class Source:
  """A population that cohorts are drawn from; what is pickled is all of its examples.

  Args:
    clients: the population.
  """

  def __init__(self, clients: federated_data.Clients):
    self.clients = clients

  @functools.cached_property
  def bytes_of_example(self) -> int:
    """What an example takes."""
    arrays = self.clients.examples(0).values() if len(self.clients) else ()
    return sum(array.itemsize * math.prod(array.shape[1:]) for array in arrays)


_BYTES_OF_STRUCTURE = 4096  # What the objects around a client's arrays take.


@dataclasses.dataclass(frozen=True)
class Cohort(described.DescribedClients):
  """The D of each client of a round, as `cohort_data` makes it, made when it is asked for.

  Attributes:
    source: the population; None where it was left out on the way to another process.
    clients: each client's position in it.
    sizes: how many examples each client has, int64 [n].
    bytes_of_example: what an example takes.
    batch_size, epochs, seed, round_num, max_examples: as of `cohort_data`.
  """

  source: Optional[Source]
  clients: np.ndarray
  sizes: np.ndarray
  bytes_of_example: int
  epochs: np.ndarray
  batch_size: int
  seed: int
  round_num: int
  max_examples: Optional[int] = None

  def __len__(self) -> int:
    return len(self.clients)

  def _steps_per_epoch(self) -> np.ndarray:
    sizes = self.sizes
    if self.max_examples is not None:
      sizes = np.minimum(sizes, self.max_examples)
    return -(-sizes // (self.batch_size or np.maximum(sizes, 1)))

  def weights(self) -> np.ndarray:
    per_epoch = self._steps_per_epoch()
    # As `batch_order` has it: Python's round and NumPy's both take halves to the even number.
    steps = np.maximum(1, np.round(self.epochs * per_epoch))
    return 1.0 + np.minimum(steps, np.ceil(self.epochs) * per_epoch)

  def bytes_of_clients(self) -> np.ndarray:
    orders = 4 * np.ceil(self.epochs).astype(np.int64) * self.sizes
    return self.sizes * self.bytes_of_example + orders + _BYTES_OF_STRUCTURE

  def part(self, places: Sequence[int], source: Any) -> 'Cohort':
    rows = np.asarray(places, np.int64)
    chosen = {name: getattr(self, name)[rows] for name in ('clients', 'sizes', 'epochs')}
    return dataclasses.replace(self, source=source, **chosen)

  def make(self) -> list[ClientData]:
    if self.source is None:
      raise ValueError('this description lacks its source')
    return cohort_data(
      self.source.clients.examples_of(self.clients),
      batch_size=self.batch_size,
      epochs=self.epochs.tolist(),
      seed=self.seed,
      round_num=self.round_num,
      clients=self.clients,
      max_examples=self.max_examples,
    )


def cohort(
  source: Source,
  clients: Sequence[int] | np.ndarray,
  epochs: Sequence[float] | np.ndarray,
  **others: Any,
) -> Cohort:
  """Describes a cohort of a population.

  Args:
    source: the population.
    clients: positions of the cohort's clients in it.
    epochs: each client's E.
    **others: `batch_size`, `seed`, `round_num` and `max_examples`, as of `cohort_data`.
  """
  clients = np.asarray(clients, np.int64)
  return Cohort(
    source=source,
    clients=clients,
    sizes=np.asarray(source.clients.sizes)[clients],
    bytes_of_example=source.bytes_of_example,
    epochs=np.asarray(epochs, np.float64),
    **others,
  )


def positions(clients: Iterable[ClientData]) -> list[int]:
  """Where the clients that are described, or that these D are of, stand in their population."""
  if isinstance(clients, Cohort):
    return clients.clients.tolist()
  return [int(data['client']) for data in clients]  # type: ignore[call-overload]


def _some(
  examples: Sequence[federated_data.Examples], keys: Sequence[int], most: int
) -> list[federated_data.Examples]:
  """At most so many of each client's examples, in the order that they have."""
  orders = random_streams.orders(keys, [len(own['y']) for own in examples])
  chosen = [np.sort(order[:most]) if len(order) > most else None for order in orders]
  return [
    own if rows is None else {key: array[rows] for key, array in own.items()}
    for own, rows in zip(examples, chosen)
  ]

"""Clients' values that are described, and made when they are due.

A cohort of 10^5 clients need not stand side by side in memory: whoever runs a part of it, in this
process or in another one, makes the values of that part then, from the same description.
"""

import abc
from collections.abc import Iterator, Mapping, Sequence
import itertools
from typing import Any

import numpy as np


class DescribedClients(Sequence):
  """The values of the clients of a cohort, in its order, each made when it is asked for.

  A value is a structure of arrays, nested mappings, and a pure function of the description. What
  is described twice in the same way is the same to the last bit.

  Attributes:
    source: what values are made of, the same object from round to round, or None where it was left
      out. It can be pickled; where that would move much, what is pickled says how to open it again.
  """

  source: Any

  @abc.abstractmethod
  def weights(self) -> np.ndarray:
    """How long each client's work may take: 1 more than its number of batches, float64 [n]."""

  @abc.abstractmethod
  def bytes_of_clients(self) -> np.ndarray:
    """About how much memory each client's value takes, int64 [n]."""

  @abc.abstractmethod
  def part(self, places: Sequence[int], source: Any) -> 'DescribedClients':
    """The clients at these places of the cohort, made of this source (which may be None)."""

  @abc.abstractmethod
  def make(self) -> list[Mapping[str, Any]]:
    """The values of all clients, the arrays of a leaf being parts of one memory."""

  def __getitem__(self, place):
    if isinstance(place, slice):
      return self.part(range(len(self))[place], self.source).make()
    if not -len(self) <= place < len(self):
      raise IndexError(place)
    [value] = self.part([place % len(self)], self.source).make()
    return value

  def __iter__(self) -> Iterator[Mapping[str, Any]]:
    return iter(self.make())


def named_leaves(value: Any, path: str = '') -> Iterator[tuple[str, np.ndarray]]:
  """The leaves of a value of nested mappings, with the paths to them."""
  if isinstance(value, Mapping):
    for key, member in value.items():
      yield from named_leaves(member, f'{path}/{key}')
  else:
    yield path, np.asarray(value)


def columns(clients: DescribedClients, names: Sequence[str]) -> list[list[np.ndarray]]:
  """For each of the named leaves, the arrays of all clients."""
  rows = [dict(named_leaves(value)) for value in clients.make()]
  return [[row[name] for row in rows] for name in names]


def slices(sizes: Sequence[int] | np.ndarray, most: int) -> list[range]:
  """Cuts clients of these bytes into runs of at most so many, or of a single larger client."""
  ends, total = [], 0
  for place, size in enumerate(sizes):
    if total and total + size > most:
      ends.append(place)
      total = 0
    total += int(size)
  bounds = [0, *ends, len(sizes)]
  return [range(*both) for both in itertools.pairwise(bounds)]

"""Clients of `rounds` that are described by their seeds and sizes."""

import dataclasses
from typing import Any

import numpy as np

from fl_research.runtime import described
from tests.runtime import rounds


@dataclasses.dataclass(frozen=True)
class Seeded(described.DescribedClients):
  """Clients `rounds.client(seed, size)`; the source is what their features are multiplied by.

  Attributes:
    made: how many clients were made at the same time, noted whenever some are.
  """

  source: Any
  seeds: np.ndarray
  sizes: np.ndarray
  made: list[int] = dataclasses.field(default_factory=list)

  def __len__(self):
    return len(self.seeds)

  def weights(self):
    return 1.0 + -(-self.sizes // rounds.BATCH_SIZE)

  def bytes_of_clients(self):
    return 100 * self.sizes

  def part(self, places, source):
    rows = np.asarray(places)
    return dataclasses.replace(self, source=source, seeds=self.seeds[rows], sizes=self.sizes[rows])

  def make(self):
    self.made.append(len(self))
    clients = [rounds.client(int(s), int(n)) for s, n in zip(self.seeds, self.sizes)]
    for client in clients:
      client['examples']['x'] *= np.float32(self.source)
    return clients


def described_clients(sizes):
  """As `rounds.clients`, described."""
  return Seeded(1.0, np.arange(len(sizes)), np.array(sizes))

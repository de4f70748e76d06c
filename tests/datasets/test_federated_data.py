"""Examples of a cohort: right, and in memory once."""

import tracemalloc

import numpy as np
import pytest

from fl_research import client_data
from fl_research.datasets.federated_data import Clients, ContiguousClients
from fl_research.runtime import chunks

ROWS, FEATURES, CLIENTS = 250, 784, 20


class Read(Clients):
  """Clients whose examples are read anew whenever they are asked for."""

  ids = tuple(map(str, range(CLIENTS)))
  sizes = np.full(CLIENTS, ROWS)

  def examples(self, position):
    x = np.full((ROWS, FEATURES), position, np.float32)
    return {'x': x, 'y': np.arange(ROWS, dtype=np.int32) + position}


def stacked(clients, positions):
  data = client_data.cohort_data(
    clients.examples_of(positions),
    batch_size=50,
    epochs=[1.0] * len(positions),
    seed=1,
    round_num=1,
    clients=positions,
  )
  return chunks.stack_clients(data, 2)


@pytest.mark.parametrize('positions', [[], [3], [4, 4], [5, 0, 2, 19]])
def test_what_is_read_is_what_each_client_has(positions):
  clients = Read()
  for selected in (clients, clients.select(range(CLIENTS))):
    cohort = selected.examples_of(positions)
    for position, examples in zip(positions, cohort, strict=True):
      for key, array in clients.examples(position).items():
        np.testing.assert_array_equal(examples[key], array, strict=True)


def test_a_cohort_that_is_read_is_held_once():
  """It was held twice: as it was read, and as it is stacked for the runtime."""
  cohort_bytes = CLIENTS * ROWS * (FEATURES + 1) * 4
  tracemalloc.start()
  try:
    stack = stacked(Read(), range(CLIENTS))
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert sorted(int(client['examples']['x'][0, 0]) for client in stack) == list(range(CLIENTS))
  assert cohort_bytes < peak < 1.2 * cohort_bytes


def test_what_is_in_memory_is_not_copied():
  arrays = {'x': np.ones((100, 64), np.float32), 'y': np.arange(100, dtype=np.int32)}
  clients = ContiguousClients(arrays, np.arange(0, 101, 10))
  population = clients.pooled()
  for examples in clients.examples_of([7, 2]):
    for key in examples:
      assert np.shares_memory(examples[key], population[key])

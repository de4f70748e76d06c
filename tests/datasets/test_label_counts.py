"""Tests of counting labels by client."""

import numpy as np
import pytest

from fl_research.datasets import label_counts as label_counts_lib
from fl_research.datasets.federated_data import ContiguousClients, NumberedIds, Problem
from fl_research.datasets.label_counts import label_counts


def _clients(y, offsets):
  return ContiguousClients({'x': np.zeros((len(y), 1)), 'y': np.asarray(y)}, np.array(offsets))


def _one_by_one(clients):
  """The same clients, but not known to lie in memory."""
  return clients.select(range(len(clients)))


CASES = [
  (Problem.CLASSIFICATION, [2, 0, 2, 1, 1], [[1, 0, 2], [0, 2, 0]]),
  (Problem.BINARY, [1, 0, 1, 1, 1], [[1, 2], [0, 2]]),
  (
    Problem.MULTILABEL,
    np.float32([[1, 0, 1], [0, 0, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1]]),
    [[2, 0, 1], [0, 1, 2]],
  ),
  (
    Problem.NEXT_TOKEN,
    [[3, 1, 0], [1, 1, 3], [1, 0, 0], [2, 2, 0], [3, 0, 0]],
    [[0, 4, 0, 2], [0, 0, 2, 1]],
  ),
]


@pytest.mark.parametrize(('problem', 'y', 'expected'), CASES)
@pytest.mark.parametrize('wrap', [lambda clients: clients, _one_by_one])
@pytest.mark.parametrize('dense_cells', [10, 0])
def test_counts(problem, y, expected, wrap, dense_cells, monkeypatch):
  monkeypatch.setattr(label_counts_lib, '_DENSE_CELLS', dense_cells)
  clients = wrap(_clients(y, [0, 3, 5]))
  assert label_counts(clients, problem).toarray().tolist() == expected


def test_chosen_clients_only():
  clients = _clients([0, 1, 1, 2], [0, 1, 3, 4])
  counts = label_counts(clients, Problem.CLASSIFICATION, [2, 0])
  assert counts.toarray().tolist() == [[0, 0, 1], [1, 0, 0]]


def test_clients_without_examples():
  clients = _clients([1, 1], [0, 0, 2, 2])
  expected = [[0, 0], [0, 2], [0, 0]]
  assert label_counts(clients, Problem.CLASSIFICATION).toarray().tolist() == expected
  assert list(NumberedIds(3)) == list(clients.ids)

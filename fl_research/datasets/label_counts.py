"""How often each client has each label: what partitions deal by and what passports measure."""

from collections.abc import Sequence
from typing import Optional

import numpy as np
import scipy.sparse

from fl_research.datasets.federated_data import Clients, ContiguousClients, Problem

# Problems whose labels are a choice from a list, so that a client has a distribution over them.
LABELLED = frozenset(
  (Problem.CLASSIFICATION, Problem.BINARY, Problem.MULTILABEL, Problem.NEXT_TOKEN)
)


def label_counts(
  clients: Clients, problem: Problem, positions: Optional[Sequence[int]] = None
) -> scipy.sparse.csr_matrix:
  """Counts of labels by client.

  A class is counted once per example, a tag (`MULTILABEL`) once per example that has it, a token
  (`NEXT_TOKEN`) once per place it is to be predicted at, padding left out.

  Args:
    clients: whose labels are counted. Contiguous clients are counted in one pass over `y`, others
      are read one by one.
    problem: one of `LABELLED`.
    positions: the clients to count; all of them when None.

  Returns:
    Sparse int64 [number of positions, number of labels]; the number of labels is the largest one
    seen plus one.
  """
  if isinstance(clients, ContiguousClients) and positions is None:
    owners = np.repeat(np.arange(len(clients)), clients.sizes)
    return _count(owners, np.asarray(clients.pooled()['y']), problem, len(clients))
  chosen = range(len(clients)) if positions is None else positions
  labels = [np.asarray(clients.examples(position)['y']) for position in chosen]
  if not labels:
    return scipy.sparse.csr_matrix((0, 0), dtype=np.int64)
  owners = np.repeat(np.arange(len(labels)), [len(part) for part in labels])
  return _count(owners, np.concatenate(labels), problem, len(labels))


def _count(
  owners: np.ndarray, labels: np.ndarray, problem: Problem, num_clients: int
) -> scipy.sparse.csr_matrix:
  rows, columns = _pairs(owners, labels, problem)
  num_labels = int(columns.max()) + 1 if len(columns) else 0
  if num_clients * num_labels <= _DENSE_CELLS:
    cells = np.bincount(rows * num_labels + columns, minlength=num_clients * num_labels)
    return scipy.sparse.csr_matrix(cells.reshape(num_clients, num_labels))
  ones = np.ones(len(rows), np.int64)
  return scipy.sparse.csr_matrix((ones, (rows, columns)), (num_clients, num_labels))


# Up to here one pass of bincount is several times faster than sorting for the sparse form.
_DENSE_CELLS = 10_000_000


def _pairs(
  owners: np.ndarray, labels: np.ndarray, problem: Problem
) -> tuple[np.ndarray, np.ndarray]:
  """One (client, label) pair for every occurrence of a label."""
  if problem in (Problem.CLASSIFICATION, Problem.BINARY):
    return owners, labels.astype(np.int64)
  example, *where = np.nonzero(labels)
  if problem is Problem.MULTILABEL:
    return owners[example], where[0]
  return owners[example], labels[(example, *where)].astype(np.int64)

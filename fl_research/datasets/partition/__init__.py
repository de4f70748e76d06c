"""Dealing a pool of examples out to clients, in the ways the literature deals them.

Every scheme is one file and one line in `schemes.SCHEMES`. It answers one question, which client
owns example i, so that each example has exactly one owner by construction. All draws come from
`random_streams`, as a function of the seed and the scheme alone.
"""

from collections.abc import Sequence
from typing import Any, Optional, Union

import numpy as np
import scipy.sparse

from fl_research import random_streams
from fl_research.datasets.federated_data import (
  Clients,
  ContiguousClients,
  Examples,
  PooledData,
  Problem,
)
from fl_research.datasets.label_counts import label_counts
from fl_research.datasets.partition import dealing, schemes
from fl_research.registry import UsageError

SCHEMES = schemes.SCHEMES


def partition(
  pool: Union[PooledData, Examples],
  scheme: str,
  num_clients: int,
  seed: int,
  **hyperparameters: Any,
) -> ContiguousClients:
  """Deals the training examples of a pool out to clients.

  Args:
    pool: a data set without clients, or just its examples.
    scheme: a name in `SCHEMES`.
    num_clients: number of clients, from 1 to the number of examples.
    seed: the run's seed.
    **hyperparameters: the scheme's hyperparameters; those not given have their defaults.

  Returns:
    The clients; every example belongs to exactly one.

  Raises:
    UsageError: unknown scheme, a parameter outside its domain or of another scheme, more clients
      than examples, or a pool that lacks what the scheme needs (labels, superclasses, numbers).
  """
  data = pool.train if isinstance(pool, PooledData) else pool
  settings = schemes.settings(scheme, hyperparameters)
  if not 1 <= num_clients <= len(data['y']):
    raise UsageError(
      f'--num_clients={num_clients}: the data set has {len(data["y"])} training examples, '
      f'so accepted is 1 to {len(data["y"])}'
    )
  coarse = pool.coarse_labels if isinstance(pool, PooledData) else None
  _check_pool(data, coarse, scheme)
  generator = random_streams.generator(seed, f'partition {scheme}')
  entry = SCHEMES[scheme]
  superclasses = {'coarse_labels': coarse} if entry.needs_coarse_labels else {}
  owners = entry.load().assign(
    np.asarray(data['y']), num_clients, generator, **settings, **superclasses
  )
  clients = _clients_of(data, owners, num_clients)
  return entry.load().alter(clients, 'train', seed, **settings) if entry.alters_x else clients


def partition_test(
  clients: Clients,
  test: Examples,
  problem: Problem,
  scheme: str,
  seed: int,
  **hyperparameters: Any,
) -> ContiguousClients:
  """Deals test examples out so that each client is tested on labels as it has trained on.

  The test examples of a label are divided among the clients in proportion to how many training
  examples of that label each has, rounded by largest remainder (ties by lot). Whatever scheme made
  the training split, a client's test labels thus have its training distribution, up to rounding;
  a label no client trains on, and labels that are not classes, are divided by training size. With
  fewer test examples than clients some clients have none. `feature_noise` adds noise of each
  client's own strength, drawn anew.

  Args:
    clients: the training clients that `partition` made.
    test: the data set's test examples.
    problem: what is predicted.
    scheme, seed, **hyperparameters: as given to `partition`.

  Returns:
    As many clients, with the same ids; every test example belongs to exactly one.
  """
  settings = schemes.settings(scheme, hyperparameters)
  generator = random_streams.generator(seed, 'partition test')
  sizes = clients.sizes.astype(np.float64)
  if problem in (Problem.CLASSIFICATION, Problem.BINARY):
    trained = label_counts(clients, problem).tocsc()
    codes = np.asarray(test['y'], np.int64)
    shares = lambda label: _column(trained, label, sizes)
  else:
    codes = np.zeros(len(test['y']), np.int64)
    shares = lambda label: sizes
  owners = np.empty(len(codes), np.int64)
  for label in np.unique(codes):
    rows = np.flatnonzero(codes == label)
    numbers = dealing.apportion(len(rows), shares(label), generator)
    owners[rows] = dealing.by_sizes(numbers, generator)
  dealt = _clients_of(test, owners, len(clients), clients.ids)
  entry = SCHEMES[scheme]
  return entry.load().alter(dealt, 'test', seed, **settings) if entry.alters_x else dealt


def _check_pool(data: Examples, coarse_labels: Optional[np.ndarray], scheme: str) -> None:
  """Sees that the examples have what the scheme needs."""
  entry, targets = SCHEMES[scheme], np.asarray(data['y'])
  are_classes = targets.ndim == 1 and np.issubdtype(targets.dtype, np.integer)
  if entry.needs_labels and not are_classes:
    raise UsageError(f'--partition={scheme}: needs one class per example, the data set has none')
  if entry.needs_coarse_labels and coarse_labels is None:
    raise UsageError(f'--partition={scheme}: the data set has no superclasses (CIFAR-100 has)')
  if entry.alters_x and not np.issubdtype(data['x'].dtype, np.floating):
    raise UsageError(f'--partition={scheme}: x of this data set is not made of real numbers')


def _clients_of(
  data: Examples, owners: np.ndarray, num_clients: int, ids: Optional[Sequence[str]] = None
) -> ContiguousClients:
  """The clients that own these examples; each keeps them in the pool's order."""
  order = np.argsort(owners, kind='stable')
  offsets = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=num_clients))])
  return ContiguousClients({key: array[order] for key, array in data.items()}, offsets, ids)


def _column(counts: scipy.sparse.csc_matrix, label: int, otherwise: np.ndarray) -> np.ndarray:
  """How many examples of a label each client has, or `otherwise` where nobody has any."""
  if label >= counts.shape[1]:
    return otherwise
  column = counts[:, [label]].toarray()[:, 0].astype(np.float64)
  return column if column.any() else otherwise

"""Seeded splits and grouping of rows by owner, for the data sets that have natural clients."""

from collections.abc import Sequence

import numpy as np

from fl_research.datasets.federated_data import Clients, ContiguousClients, Examples

TEST_FRACTION = 0.2


def held_out_counts(sizes: np.ndarray, fraction: float = TEST_FRACTION) -> np.ndarray:
  """How many rows of groups of these sizes are held out, int64, the shape of `sizes`.

  `fraction * size`, rounded half up, but at least 1 and at most size - 1; of one row, none.
  """
  quota = np.floor(fraction * np.asarray(sizes) + 0.5).astype(np.int64)
  return np.minimum(np.maximum(quota, 1), np.maximum(np.asarray(sizes) - 1, 0))


def held_out_rows(
  groups: np.ndarray, rng: np.random.Generator, fraction: float = TEST_FRACTION
) -> np.ndarray:
  """Draws the test rows group by group, as many as `held_out_counts` says.

  Groups may be clients, labels, or pairs of both.

  Args:
    groups: [n] group of each row.
    rng: decides which rows.
    fraction: part to hold out.

  Returns:
    bool [n], True where the row is a test row.
  """
  return _first_rows(groups, rng.random(len(groups)), fraction)


def last_rows(groups: np.ndarray, fraction: float = TEST_FRACTION) -> np.ndarray:
  """As `held_out_rows`, but holds out the last rows of each group instead of drawing them."""
  return _first_rows(groups, -np.arange(len(groups)), fraction)


def _first_rows(groups: np.ndarray, keys: np.ndarray, fraction: float) -> np.ndarray:
  """Holds out the rows of each group that have the smallest keys."""
  _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
  order = np.lexsort((keys, group))
  rank = np.empty(len(group), np.int64)
  rank[order] = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
  return rank < held_out_counts(sizes, fraction)[group]


def clients_by_owner(arrays: Examples, owner: np.ndarray, ids: Sequence[str]) -> ContiguousClients:
  """Clients from a pool whose rows name their owner.

  Args:
    arrays: `x` and `y`, one row per example, in any order.
    owner: int [n], which of `ids` owns each row; an owner's rows keep their order.
    ids: names of all owners; those who own no row are left out.

  Returns:
    The owners that have rows, in the order of `ids`.
  """
  order = np.argsort(owner, kind='stable')
  present, sizes = np.unique(owner, return_counts=True)
  offsets = np.concatenate([[0], np.cumsum(sizes)])
  return ContiguousClients(
    {key: array[order] for key, array in arrays.items()}, offsets, [ids[k] for k in present]
  )


def own_tests(
  clients: Clients, fraction: float, by_label: bool
) -> tuple[ContiguousClients, ContiguousClients]:
  """Keeps the last examples of every client from training, to test it on.

  Last, because neighbouring examples of one person are often nearly the same: overlapping windows
  of a signal, lines of one scene.

  Args:
    clients: the clients.
    fraction: of a client's examples, as `held_out_counts` rounds it.
    by_label: whether this is done for each of a client's labels, so that both parts have all of
      them; y are class labels then.

  Returns:
    The clients as they train, and as they are tested. Who has too few examples has no test part.
  """
  arrays = clients.pooled()
  owner = np.repeat(np.arange(len(clients)), clients.sizes)
  labels = np.asarray(arrays['y'], np.int64) if by_label else np.zeros(len(owner), np.int64)
  last = last_rows(owner * (labels.max() + 1) + labels, fraction)
  train, test = (
    clients_by_owner({key: array[rows] for key, array in arrays.items()}, owner[rows], clients.ids)
    for rows in (~last, last)
  )
  return train, test

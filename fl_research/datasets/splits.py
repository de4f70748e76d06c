"""Seeded splits and grouping of rows by owner, for the data sets that have natural clients."""

from collections.abc import Sequence

import numpy as np

from fl_research.datasets.federated_data import ContiguousClients, Examples

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
  _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
  order = np.lexsort((rng.random(len(group)), group))
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

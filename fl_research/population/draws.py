"""Ways of drawing a cohort from the clients that are eligible; see `cohorts.SAMPLINGS`."""

from typing import Any, Union

import numpy as np

from fl_research import random_streams

Generator = Union[np.random.Generator, random_streams.SystemGenerator]


class Everybody:
  """All positions of a population, as an array of them would be, but for its memory."""

  def __init__(self, count: int):
    self._count = count

  def __len__(self) -> int:
    return self._count

  def __array__(self, dtype: Any = None) -> np.ndarray:
    return np.arange(self._count, dtype=dtype)

  def __getitem__(self, chosen: np.ndarray) -> np.ndarray:
    return np.flatnonzero(chosen) if chosen.dtype == bool else chosen


Eligible = Union[np.ndarray, Everybody]


def uniform(
  generator: Generator, eligible: Eligible, sizes: np.ndarray, clients_per_round: int
) -> np.ndarray:
  del sizes
  count = min(clients_per_round, len(eligible))
  # Without shuffling, the time depends on `count` alone.
  return eligible[generator.choice(len(eligible), count, replace=False, shuffle=False)]


def by_size(
  generator: np.random.Generator, eligible: Eligible, sizes: np.ndarray, clients_per_round: int
) -> np.ndarray:
  count = min(clients_per_round, len(eligible))
  own = sizes[np.asarray(eligible)]
  return eligible[generator.choice(len(own), count, replace=False, p=own / own.sum())]


def with_replacement(
  generator: np.random.Generator, eligible: Eligible, sizes: np.ndarray, clients_per_round: int
) -> np.ndarray:
  del sizes
  return eligible[generator.choice(len(eligible), clients_per_round, replace=True)]


def poisson(
  generator: Generator, eligible: Eligible, sizes: np.ndarray, clients_per_round: int
) -> np.ndarray:
  del sizes
  count = min(clients_per_round, len(eligible))
  return eligible[generator.random(len(eligible)) < count / len(eligible)]

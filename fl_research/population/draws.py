"""Ways of drawing a cohort from the clients that are eligible; see `cohorts.SAMPLINGS`."""

from typing import Union

import numpy as np

from fl_research import random_streams
from fl_research.population.eligible import Eligible

Generator = Union[np.random.Generator, random_streams.SystemGenerator]


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

"""Who takes part in a round: cohorts as pure functions of (seed, round).

Differences from the paper:
1. There is none; papers differ in how they draw, and each way here is one of theirs.
"""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Optional

import numpy as np
import pandas as pd

from fl_research import random_streams
from fl_research.registry import UsageError

SAMPLINGS = {
  'uniform': 'clients_per_round different clients, all equally likely',
  'by_size': 'clients_per_round different clients, likely in proportion to their examples',
  'with_replacement': 'clients_per_round draws; a client may be drawn more than once',
  'poisson': 'every client on its own with probability clients_per_round / clients',
  'availability': 'uniform among those the trace says are available (all of them if too few)',
}
"""The ways of drawing a cohort, in words."""


@dataclasses.dataclass(frozen=True)
class CohortSampler:
  """Draws the cohort of each round.

  Attributes:
    sampling: one of `SAMPLINGS`.
    clients_per_round: C; for `poisson` the expected size.
    sizes: number of examples of every client. Clients without examples are never drawn.
    seed: the run's seed.
    availability: for `availability`: the trace.
  """

  sampling: str
  clients_per_round: int
  sizes: np.ndarray
  seed: int
  availability: Optional['AvailabilityTrace'] = None

  def cohort(self, round_num: int) -> np.ndarray:
    """Positions of the clients of a round, ascending; the same for the same seed and round."""
    generator = random_streams.generator(self.seed, f'cohort {self.sampling}', round_num)
    return np.sort(self._draw(generator, round_num))

  @functools.cached_property
  def _with_examples(self) -> np.ndarray:
    return np.flatnonzero(self.sizes)

  def _draw(self, generator: np.random.Generator, round_num: int) -> np.ndarray:
    eligible = self._with_examples
    if self.availability is not None:
      eligible = eligible[self.availability.available(round_num)[eligible]]
    count = min(self.clients_per_round, len(eligible))
    if self.sampling == 'by_size':
      shares = self.sizes[eligible] / self.sizes[eligible].sum()
      return generator.choice(eligible, count, replace=False, p=shares)
    if self.sampling == 'with_replacement':
      return generator.choice(eligible, self.clients_per_round, replace=True)
    if self.sampling == 'poisson':
      return eligible[generator.random(len(eligible)) < count / max(len(eligible), 1)]
    return eligible[_choose_few(generator, len(eligible), count)]


def _choose_few(generator: np.random.Generator, population: int, count: int) -> np.ndarray:
  """`count` different numbers below `population`, in time that depends on `count` alone."""
  return generator.choice(population, count, replace=False, shuffle=False)


class AvailabilityTrace:
  """When each client can be drawn.

  Read from a CSV file with the columns `client_id`, `first_round` and `last_round` (both
  inclusive, rounds counted from 1); a client may have several lines, and one without any is never
  available.

  Args:
    path: the file.
    ids: ids of the clients that can be drawn, in order of position.
    others: ids of clients that cannot; lines about them are passed over.

  Raises:
    UsageError: the file cannot be read, lacks a column, or names a client that does not exist.
  """

  def __init__(self, path: str, ids: Sequence[str], others: Sequence[str] = ()):
    flag = f'--availability_trace={path}'
    try:
      table = pd.read_csv(path, dtype={'client_id': str})
    except (OSError, ValueError) as error:
      reason = str(error).splitlines()[0]
      raise UsageError(f'{flag}: cannot be read as CSV ({reason})') from error
    missing = [c for c in ('client_id', 'first_round', 'last_round') if c not in table]
    if missing:
      raise UsageError(f'{flag}: has no column {", ".join(missing)}')
    position = {client_id: p for p, client_id in enumerate(ids)}
    table = table[~table['client_id'].isin(list(others))]
    strangers = [c for c in table['client_id'] if c not in position]
    if strangers:
      raise UsageError(f'{flag}: client_id {strangers[0]} is not a client of this data set')
    rounds = table[['first_round', 'last_round']].apply(pd.to_numeric, errors='coerce')
    if rounds.isna().any(axis=None):
      raise UsageError(f'{flag}: first_round and last_round must be numbers in every line')
    self._client = table['client_id'].map(position).to_numpy(np.int64)
    self._rounds = rounds.to_numpy(np.float64)
    self._count = len(ids)

  def available(self, round_num: int) -> np.ndarray:
    """bool [clients]: who can be drawn in this round."""
    inside = (self._rounds[:, 0] <= round_num) & (round_num <= self._rounds[:, 1])
    result = np.zeros(self._count, bool)
    result[self._client[inside]] = True
    return result

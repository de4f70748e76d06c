"""Who takes part in a round: cohorts as pure functions of (seed, round), or as nobody can tell.

Differences from the paper:
1. There is none; papers differ in how they draw, and each way here is one of theirs.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
from typing import Any, Optional

import numpy as np

from fl_research import random_streams, registry
from fl_research.population.draws import Eligible, Everybody
from fl_research.registry import UsageError

_MODULE = 'fl_research.population.draws'

SAMPLINGS: Mapping[str, registry.Entry] = {
  'uniform': registry.Entry(_MODULE, 'clients_per_round different clients, all equally likely'),
  'by_size': registry.Entry(
    _MODULE,
    'clients_per_round different clients, likely in proportion to their examples',
    not_private='draws clients by their number of examples, which is private itself',
  ),
  'with_replacement': registry.Entry(
    _MODULE,
    'clients_per_round draws; a client may be drawn more than once',
    not_private='may count a client more than once in a round',
  ),
  'poisson': registry.Entry(
    _MODULE, 'every client on its own with probability clients_per_round / clients'
  ),
}
"""Every way of drawing a cohort: the name users type, its module.

The module has a function of that name, `(generator, eligible, sizes, clients_per_round)`, which
returns the cohort: some of the positions that are eligible, of which there is one at least.
`eligible` is an array of them, or `Everybody`, which can be indexed like one. `sizes` has the
number of examples of every client, eligible or not; above 0 for those that are.
"""


@dataclasses.dataclass(frozen=True)
class CohortSampler:
  """Draws the cohort of each round.

  Attributes:
    sampling: one of `SAMPLINGS`.
    clients_per_round: C; for `poisson` the expected size.
    sizes: number of examples of every client. Clients without examples are never drawn.
    seed: the run's seed.
    availability: who can be drawn in which round; None where all always can.
    fresh: whether the system's generator draws in place of the seed, for runs whose privacy counts
      on it that nobody knows who took part.
    all_filled: whether it is known that no size is 0, so that nobody need look at all of them.
  """

  sampling: str
  clients_per_round: int
  sizes: np.ndarray
  seed: int
  availability: Optional['AvailabilityTrace'] = None
  fresh: bool = False
  all_filled: bool = False

  def cohort(self, round_num: int, ready: Optional[np.ndarray] = None) -> np.ndarray:
    """Positions of the clients of a round, ascending; the same for the same arguments and seed.

    A `fresh` one is another one whenever it is asked for. All that can be drawn are, where they are
    too few.

    Args:
      round_num: the round.
      ready: bool [clients]: whose phones are ready; None for all.
    """
    drawer: Any = random_streams.SystemGenerator() if self.fresh else self._generator(round_num)
    eligible = self.eligible(round_num, ready)
    return np.sort(self._draw(drawer, eligible, self.clients_per_round))

  def among(self, free: np.ndarray, count: int, round_num: int, draw_num: int) -> np.ndarray:
    """Positions of clients that are drawn in the course of a round, ascending.

    The first draw of a round, of a whole cohort and among all, is `cohort`'s.

    Args:
      free: bool [clients], who can be drawn now.
      count: how many are wanted; fewer are drawn where fewer can be.
      round_num: the round.
      draw_num: which draw of this round it is, from 0.
    """
    generator = self._generator(round_num, *([draw_num] if draw_num else []))
    return np.sort(self._draw(generator, self.eligible(round_num, free), count))

  def _generator(self, *keys: int) -> np.random.Generator:
    return random_streams.generator(self.seed, f'cohort {self.sampling}', *keys)

  @functools.cached_property
  def _with_examples(self) -> Eligible:
    everybody = self.all_filled or self.sizes.all()
    return Everybody(len(self.sizes)) if everybody else np.flatnonzero(self.sizes)

  def eligible(self, round_num: int, ready: Optional[np.ndarray] = None) -> Eligible:
    """Positions of the clients that can be drawn in a round, ascending; see `cohort`."""
    eligible = self._with_examples
    if self.availability is not None:
      eligible = eligible[self.availability.available(round_num)[eligible]]
    return eligible if ready is None else eligible[ready[eligible]]

  def _draw(self, generator: Any, eligible: Eligible, count: int) -> np.ndarray:
    if not len(eligible):
      return np.asarray(eligible)
    draw = getattr(SAMPLINGS[self.sampling].load(), self.sampling)
    return draw(generator, eligible, self.sizes, count)


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
    # Half of the time that checking flags would take, and few runs have a trace.
    import pandas as pd

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

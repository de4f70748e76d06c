"""What the runs on a data set have cost of its privacy, and whether there is enough for more.

The ledger holds, for every run, its mechanism (noise multiplier z, how cohorts are drawn) and the
rounds that it was paid for; ε is computed from them. All rounds of all runs are composed by Rényi
differential privacy (Mironov 2017, "Rényi Differential Privacy"): their divergences add up, order
by order, and the sum becomes an ε at the owner's δ. The experimenter may choose the next run by
the results of the last; that z, cohorts and rounds of later runs are chosen by results too, the
theorem does not cover (Feldman, Zrnic 2021, "Individual Privacy Accounting via a Rényi Filter").

A round is paid for once, however often it is asked for: the site must answer it with the same
values, its noise included. Where being drawn is uncertain and so counts as protection, rounds in
which this site was not asked cost as much as those in which it was: the highest round counts.

What is not covered: everything that leaves the site besides updates; and with noise that the engine
adds (`central`), that it does add it.
"""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import fcntl
import functools
import json
import math
import os
import pathlib

import dp_accounting
from dp_accounting import rdp
import numpy as np

from fl_research import domains
from fl_research.aggregation.privacy import accountant
from fl_research.federation import proposal as proposals
from fl_research.federation import records
from fl_research.federation.refusal import Refused
from fl_research.registry import UsageError
from fl_research.training import atomic_files

_ORDERS = np.array(rdp.rdp_privacy_accountant.DEFAULT_RDP_ORDERS)
_LEAST_GAIN, _LARGEST_BY_LOSSES = 0.5, 50.0  # Large epsilons have large loss distributions.


@dataclasses.dataclass(frozen=True)
class Mechanism(records.Checked):
  """What one round costs.

  Attributes:
    noise_multiplier: z; 0 when there is no noise, and ε is infinite.
    sampling: one of `accountant.ACCOUNTED`.
    num_clients, cohort_size: N, and m expected of them in a round.
    discrete: whether noise is the discrete Gaussian.
  """

  noise_multiplier: float = dataclasses.field(metadata=domains.FROM_0)
  sampling: str = dataclasses.field(metadata=records.one_of(*accountant.ACCOUNTED))
  num_clients: int = dataclasses.field(metadata=domains.COUNT)
  cohort_size: int = dataclasses.field(metadata=domains.COUNT)
  discrete: bool = False

  @property
  def drawing(self) -> accountant.Sampling:
    """How cohorts are drawn, for the accountant."""
    return accountant.Sampling(self.sampling, self.num_clients, self.cohort_size)

  def steps(self, rounds: tuple[int, ...]) -> int:
    """How many times one round's cost these rounds have cost."""
    return max(rounds, default=0) if self.drawing.amplifies else len(rounds)


def mechanism_of(proposal: proposals.Proposal, trust_sampling: bool = True) -> Mechanism:
  """What a round of a run that is asked for would cost.

  Args:
    proposal: the run.
    trust_sampling: whether it counts that cohorts are drawn at random by somebody else.
  """
  asked = proposal.privacy
  if asked.kind == proposals.NOT_PRIVATE:
    return Mechanism(0.0, 'availability', 1, 1)
  return Mechanism(
    asked.noise_multiplier,
    asked.sampling if trust_sampling else 'availability',
    asked.num_clients,
    proposal.clients_per_round,
    asked.discrete,
  )


@dataclasses.dataclass(frozen=True)
class Spent(records.Checked):
  """What a run has been paid for: its mechanism, and rounds from 1 on, in order."""

  mechanism: Mechanism
  rounds: tuple[int, ...] = ()

  @property
  def steps(self) -> int:
    """How many times one round's cost that is."""
    return self.mechanism.steps(self.rounds)

  def with_round(self, round_num: int) -> 'Spent':
    """The same with one round more, unless it is there."""
    return Spent(self.mechanism, tuple(sorted({*self.rounds, round_num})))

  def in_full(self, total_rounds: int) -> 'Spent':
    """The same with all rounds from the first to the last."""
    return Spent(self.mechanism, tuple(range(1, total_rounds + 1)))


Runs = Mapping[str, Spent]
"""What was spent on a data set, by run id."""


def epsilon(runs: Runs, delta: float) -> float:
  """ε of all of it together at this δ; infinite when a round had no noise."""
  costs = [run.steps * _round_costs(run.mechanism) for run in runs.values() if run.steps]
  if not costs:
    return 0.0
  total = np.sum(costs, axis=0)
  known = np.isfinite(total)
  if not known.any():
    return math.inf
  return float(rdp.compute_epsilon(_ORDERS[known], total[known], delta)[0])


def described_epsilon(proposal: proposals.Proposal, delta: float) -> float:
  """ε of what a request describes, all of it being true, at this δ.

  Both accountants give a true bound. The tighter one, privacy loss distributions, is asked where it
  may decide: where the request states less than the bound by Rényi's divergence, and not so much
  less that it is in vain. Those of several runs are not added up here: a budget is by the latter.
  """
  mechanism, rounds = mechanism_of(proposal), proposal.total_rounds
  found, stated = epsilon({'': Spent(mechanism).in_full(rounds)}, delta), proposal.privacy.epsilon
  if stated is None or not _LEAST_GAIN * found <= stated < found <= _LARGEST_BY_LOSSES:
    return found
  return min(found, _epsilon_by_losses(mechanism, rounds, delta))


@functools.lru_cache(maxsize=64)
def _epsilon_by_losses(mechanism: Mechanism, rounds: int, delta: float) -> float:
  """ε by privacy loss distributions; infinite where none is known."""
  drawing, discrete = mechanism.drawing, mechanism.discrete
  try:
    tighter = accountant.Accountant('pld', drawing, mechanism.noise_multiplier, delta, discrete)
  except UsageError:
    return math.inf
  return tighter.epsilon(rounds)


def conflict(runs: Runs, mechanism: Mechanism) -> str:
  """Why a mechanism cannot be added up with these runs, as a sentence; empty when it can.

  ε about clients that are added or removed, and ε about clients whose data are replaced, are
  different promises.
  """
  own = _relation(mechanism)
  for run in runs.values():
    if run.steps and {own, _relation(run.mechanism)} == {'added or removed', 'replaced'}:
      return (
        f'This run promises something about clients {own}, earlier runs on the data set about '
        f'clients {_relation(run.mechanism)}: their costs cannot be added up.'
      )
  return ''


def _relation(mechanism: Mechanism) -> str:
  if not mechanism.noise_multiplier:
    return 'not protected'
  replaces = mechanism.drawing.neighbors is dp_accounting.NeighboringRelation.REPLACE_ONE
  return 'replaced' if replaces else 'added or removed'


@functools.lru_cache(maxsize=256)
def _round_costs(mechanism: Mechanism) -> np.ndarray:
  """One round's Rényi divergence at each of `_ORDERS`, infinite where none is known."""
  if not mechanism.noise_multiplier:
    return np.full(len(_ORDERS), math.inf)
  drawing = mechanism.drawing
  composed = rdp.RdpAccountant(_ORDERS, drawing.neighbors)
  composed.compose(drawing.event(mechanism.noise_multiplier))
  # For huge multipliers rounding makes some of them a little negative.
  costs = np.maximum(composed.rdp, 0.0)
  only_whole = mechanism.discrete and drawing.scheme == 'poisson' and drawing.amplifies
  return np.where(np.floor(_ORDERS) == _ORDERS, costs, math.inf) if only_whole else costs


class Ledger:
  """What was spent, by data set and run, in a file that is whole at any time.

  Args:
    path: of the file, made with the first round that is paid for.
  """

  def __init__(self, path: pathlib.Path):
    self.path = path

  def data_sets(self) -> Mapping[str, Runs]:
    """All that was spent.

    Raises:
      UsageError: the file cannot be understood.
    """
    try:
      values = json.loads(self.path.read_bytes())
    except FileNotFoundError:
      return {}
    except ValueError as error:
      raise UsageError(f'{self.path}: is not JSON ({error})') from error
    return records.read(_File, values, str(self.path)).data_sets

  def runs(self, data_set: str) -> Runs:
    """What was spent on a data set, by run id."""
    return self.data_sets().get(data_set, {})

  def spend(
    self,
    data_set: str,
    run_id: str,
    mechanism: Mechanism,
    round_num: int,
    delta: float,
    most_epsilon: float = math.inf,
  ) -> float:
    """Pays for a round, unless it is paid for; when it returns, that is on the disk.

    Args:
      data_set, run_id: what is paid from, and by what.
      mechanism: of the run.
      round_num: from 1 on.
      delta: δ at which ε is counted.
      most_epsilon: of all runs on the data set together.

    Returns:
      ε of all runs on the data set.

    Raises:
      Refused: it would be more than `most_epsilon`, or cannot be added up; nothing is paid.
    """
    with self._locked():
      data_sets = self.data_sets()
      runs = data_sets.get(data_set, {})
      before = runs.get(run_id, Spent(mechanism))
      runs = {**runs, run_id: before.with_round(round_num)}
      after = epsilon(runs, delta)
      if round_num in before.rounds:
        return after
      others = {name: run for name, run in runs.items() if name != run_id}
      reason = conflict(others, mechanism)
      if reason:
        raise Refused(reason)
      if after > most_epsilon:
        raise Refused(
          f'round {round_num} would bring epsilon of {data_set} to {after:.4g}; the most is '
          f'{most_epsilon:g}'
        )
      values = records.to_values(_File({**data_sets, data_set: runs}))
      atomic_files.write_atomically(self.path, json.dumps(values).encode())
    return after

  @contextlib.contextmanager
  def _locked(self) -> Iterator[None]:
    """Keeps other processes and threads out."""
    descriptor = os.open(self.path.with_name(self.path.name + '.lock'), os.O_CREAT | os.O_RDWR)
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX)
      yield
    finally:
      os.close(descriptor)


@dataclasses.dataclass(frozen=True)
class _File(records.Checked):
  """The content of the file."""

  data_sets: Mapping[str, Mapping[str, Spent]]

"""How an owner's policy decides about a request, after all that has gone before at the site."""

import math
from typing import Any, Optional

from fl_research.federation import budget, plain_words, policy, requests, signing
from fl_research.federation import proposal as proposals
from fl_research.federation.proposal import Proposal
from fl_research.federation.refusal import Refused


class Decisions:
  """What the policy makes of requests, and what it has runs pay.

  Args:
    rules: the owner's policy.
    data_set: the one that the site has; a request for another is denied. None where only its owner
      looks at what was asked.
    store: the requests so far.
    ledger: what was spent.
  """

  def __init__(
    self,
    rules: policy.Policy,
    data_set: Optional[str],
    store: requests.Store,
    ledger: budget.Ledger,
  ):
    self._rules, self._data_set, self._requests, self._ledger = rules, data_set, store, ledger
    self._allowed: set[tuple[str, str]] = set()

  def decide(self, proposal: Proposal) -> policy.Decision:
    """What the policy makes of a request, after all that has gone before."""
    if self._data_set not in (None, proposal.data_set):
      reason = f'The data set here is {self._data_set}, and the request is for {proposal.data_set}.'
      return policy.Decision(policy.DENIED, (reason,))
    return policy.decide(self._rules, proposal, self.history(proposal))

  def check_approval(self, request: requests.Request) -> None:
    """Raises `Refused` when what was approved would not be under the policy of today."""
    known = request.run_id, request.by
    if known in self._allowed:
      return
    decision, by_person = self.decide(request.proposal), request.by == requests.BY_OWNER
    if decision.verdict == policy.DENIED or (decision.verdict == policy.ASK and not by_person):
      raise Refused(
        f'run {requests.short(request.run_id)} was approved under another policy: '
        f'{" ".join(decision.reasons)}'
      )
    self._allowed.add(known)

  def history(self, proposal: Proposal) -> policy.History:
    """What has gone before a request, other than itself."""
    others = [r for r in self._requests.all() if r.run_id != proposal.run_id]
    approved = [r.proposal for r in others if r.status == requests.APPROVED]
    rest = {r.run_id for r in others if r.status != requests.APPROVED}
    made = [run for runs in self._ledger.data_sets().values() for run in runs.items()]
    rounds = sum(other.total_rounds for other in approved)
    rounds += sum(len(spent.rounds) for run_id, spent in made if run_id in rest)
    runs = dict(self._ledger.runs(proposal.data_set))
    runs.pop(proposal.run_id, None)
    runs |= {p.run_id: self._in_full(p) for p in approved if p.data_set == proposal.data_set}
    own, delta = self._in_full(proposal), self._rules.privacy.delta_of(proposal.data_set)
    own_delta = proposal.privacy.delta or delta
    return policy.History(
      rounds,
      budget.described_epsilon(proposal, own_delta),
      budget.epsilon({proposal.run_id: own}, own_delta),
      budget.epsilon({**runs, proposal.run_id: own}, delta),
      budget.conflict(runs, own.mechanism),
    )

  def describe(self, proposal: Proposal) -> dict[str, tuple[str, ...]]:
    """A request in plain words: sentences by heading."""
    data_set = proposal.data_set
    delta = self._rules.privacy.delta_of(data_set)
    spent = budget.epsilon(self._ledger.runs(data_set), delta)
    return plain_words.describe(proposal, self._rules, self.history(proposal), spent)

  def pay(self, proposal: Proposal, round_num: int) -> dict[str, Any]:
    """Pays for a round of a run; gives what the log says of it.

    Raises:
      Refused: the privacy budget does not suffice.
    """
    data_set, rules = proposal.data_set, self._rules.privacy
    most = rules.budget(data_set).most_epsilon
    after = self._ledger.spend(
      data_set,
      proposal.run_id,
      budget.mechanism_of(proposal, rules.trust_sampling),
      round_num,
      rules.delta_of(data_set),
      math.inf if most is None else most,
    )
    return {'data_set': data_set, 'epsilon': policy.epsilon_text(after)}

  def check_enough(self, clients: Optional[int], rows: Optional[int]) -> None:
    """Raises `Refused` where too few clients or rows are behind what would leave."""
    rules = self._rules.release
    for what, there, least in (
      ('clients', clients, rules.least_clients),
      ('rows', rows, rules.least_rows),
    ):
      if not least:
        continue
      if there is None:
        raise Refused(f'how many {what} are behind it was not said; the least is {least}')
      if there < least:
        raise Refused(f'too few {what} are behind it; the least is {least}')

  def withheld(self, proposal: Proposal) -> tuple[str, ...]:
    """Kinds that a request asks for and the site keeps to itself, the run going on."""
    asked = proposal.release(proposals.TRAINING_METRICS) is not None
    return (proposals.TRAINING_METRICS,) if asked and self._rules.release.withholds_metrics else ()

  def _in_full(self, proposal: Proposal) -> budget.Spent:
    """What all rounds of a run would have spent."""
    mechanism = budget.mechanism_of(proposal, self._rules.privacy.trust_sampling)
    spent = budget.Spent(mechanism)
    has_updates = any(proposal.release(kind) for kind in proposals.MODEL_KINDS)
    return spent.in_full(proposal.total_rounds) if has_updates else spent


def check_signature(proposal: Proposal, signature: bytes) -> None:
  """Raises `Refused` when a request names a key that has not signed it."""
  key = proposal.experimenter.key
  if key and not signing.is_signed(proposal.canonical(), signature, key):
    raise Refused(f'the request is not signed by the key that it names ({requests.short(key)})')


def release_of(proposal: Proposal, kind: str) -> proposals.Release:
  """What a request says of a kind; raises `Refused` where it does not ask for it."""
  release = proposal.release(kind)
  if release is None:
    raise Refused(f'{kind} may not leave: run {requests.short(proposal.run_id)} did not ask for it')
  return release


def check_round(proposal: Proposal, kind: str, round_num: int) -> None:
  """Raises `Refused` where a kind is not asked for, or not in such a round."""
  release_of(proposal, kind)
  first = 1 if kind in proposals.MODEL_KINDS else 0
  if not first <= round_num <= proposal.total_rounds:
    raise Refused(
      f'round {round_num} of {kind} is none of run {requests.short(proposal.run_id)}, which has '
      f'{first} to {proposal.total_rounds}'
    )

"""What stands between an experimenter's requests and a site's data.

The program that answers requests asks the guard before everything that it does, and tells it of
everything that it sends. The guard decides by the owner's policy and by what the owner has
approved, pays for privacy, and writes the log. It knows neither the network nor TensorFlow, which
`check_graph` alone imports.

    guard = Guard(folder, policy.read(path))
    answer = guard.propose(proposal, signature)          'approved', 'waiting' or 'denied'
    guard.check_columns(run_id, columns)                 once, before the run begins
    guard.check_graph(run_id, library)                   once for every graph, before it runs
    guard.received(run_id, kind, round_num, message)     every request
    guard.admit(run_id, kind, round_num, clients, rows)  before the data are touched
    guard.noised(run_id, round_num, content)             with noise of the site's own, once made
    guard.leaves(run_id, kind, round_num, message)       before the reply is sent

Whatever is not let through raises `Refused`, and is in the log. Several processes may have a guard
of the same folder: what one of them approves or withdraws the others see with their next call. An
approval holds under the policy that a guard is given: a run that the policy denies today admits
nothing, whoever approved it before.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import hashlib
import pathlib
from typing import Optional

from fl_research.federation import (
  answered,
  budget,
  decisions,
  graph_check,
  guard_log,
  policy,
  requests,
  silence,
  site_noise,
)
from fl_research.federation import proposal as proposals
from fl_research.federation import signer as signer_lib
from fl_research.federation.proposal import Proposal
from fl_research.federation.refusal import Refused
from fl_research.federation.requests import short
from fl_research.registry import UsageError

REQUESTS, BUDGET, LOG = 'requests', 'budget.json', 'audit.log'
"""The names in a guard's folder."""

NOISED = 'noised updates'
"""What the log calls what clients send in a round, when it has been made and has not left yet."""

_STATUS = {
  policy.ALLOWED: requests.APPROVED,
  policy.ASK: requests.WAITING,
  policy.DENIED: requests.DENIED,
}


@dataclasses.dataclass(frozen=True)
class Answer:
  """What becomes of a proposal.

  Attributes:
    status: `requests.APPROVED`, `WAITING` (for a person at the site) or `DENIED`.
    reasons: sentences in plain words.
    withheld: kinds that were asked for and that the site keeps to itself, the run going on.
  """

  status: str
  reasons: tuple[str, ...] = ()
  withheld: tuple[str, ...] = ()


class Guard:
  """The owner's rules at work on one folder.

  Args:
    folder: holds `requests/`, `budget.json` and `audit.log`; made when it is not there.
    rules: the owner's policy.
    data_set: the one that this site has; a request for another is denied. None where only its
      owner looks at what was asked.

  Attributes:
    decide, history, describe: see `decisions.Decisions`.

  Raises:
    UsageError: the folder's log, budget or requests cannot be read, do not fit together, or the
      log is broken.
  """

  def __init__(self, folder: pathlib.Path, rules: policy.Policy, data_set: Optional[str] = None):
    folder.mkdir(parents=True, exist_ok=True)
    self._folder, self.policy, self.data_set = folder, rules, data_set
    self.requests = requests.Store(folder / REQUESTS)
    self.ledger = budget.Ledger(folder / BUDGET)
    self._log = guard_log.GuardLog(folder / LOG)
    self.log = self._log.file
    own = decisions.Decisions(rules, data_set, self.requests, self.ledger)
    self.decide, self.history, self.describe = own.decide, own.history, own.describe
    self._decisions = own
    self._answered = answered.from_folder(self._log, self.requests, self.ledger)
    silence.withdraw(self.requests, self._log, self.policy.decision.silent_days)

  def propose(self, proposal: Proposal, signature: bytes = b'') -> Answer:
    """Takes a request, or says what became of it when it was made before.

    A request that the owner has denied stays so; one that the policy denied, or that was
    withdrawn, is decided anew.

    Args:
      proposal: what is asked for; its run id is what all later calls name it by.
      signature: Ed25519, of `proposal.canonical()` by the key that the proposal names; empty
        when it names none.

    Raises:
      Refused: the signature is not of this proposal by this key; too many requests wait; or too
        much was asked for in the last hour.
    """
    run_id = proposal.run_id
    with self._log.refusals(run_id):
      decisions.check_signature(proposal, signature)
      silence.withdraw(self.requests, self._log, self.policy.decision.silent_days)
      if self.requests.has(run_id):
        self.requests.heard(run_id)
        known = self.requests.get(run_id)
        if known.status in (requests.WAITING, requests.APPROVED) or known.by == requests.BY_OWNER:
          return Answer(known.status, known.reasons, self._decisions.withheld(proposal))
      self._log.check_pace()
      decision = self.decide(proposal)
      made = requests.new(proposal, _STATUS[decision.verdict], decision.reasons)
      self.requests.put(made)
      self.requests.forget({run for runs in self.ledger.data_sets().values() for run in runs})
      who = proposal.experimenter
      self._log.write(
        'asked', run=run_id, name=who.name, key=who.key, status=made.status, why=made.reasons
      )
      return Answer(made.status, made.reasons, self._decisions.withheld(proposal))

  def approve(self, run_id: str, note: str = '') -> None:
    """The owner lets a run through.

    Raises:
      UsageError: the policy denies it, or the experimenter has withdrawn it.
    """
    request = self.requests.get(run_id)
    if request.status == requests.WITHDRAWN:
      raise UsageError(f'run {short(run_id)}: the experimenter has withdrawn it')
    decision = self.decide(request.proposal)
    if decision.verdict == policy.DENIED:
      raise UsageError(f'run {short(run_id)}: the policy denies it: {" ".join(decision.reasons)}')
    self._log.write('approved', run=run_id, by=requests.BY_OWNER, note=note)
    approved = 'The owner of the data has approved it.'
    self._settle(request, requests.APPROVED, requests.BY_OWNER, approved, note)

  def deny(self, run_id: str, reason: str) -> None:
    """The owner does not let a run through, or no longer: it admits nothing from now on."""
    request = self.requests.get(run_id)
    self._log.write('denied', run=run_id, by=requests.BY_OWNER, why=reason)
    self._settle(request, requests.DENIED, requests.BY_OWNER, reason)

  def withdraw(self, run_id: str, is_over: bool = False) -> None:
    """The experimenter wants no more of it: the run admits nothing from now on.

    Args:
      run_id: the run.
      is_over: whether it was made to its end, and not given up.

    Raises:
      Refused: it was never asked for.
    """
    with self._log.refusals(run_id):
      request = self.requests.get(run_id)
      if request.status in (requests.DENIED, requests.WITHDRAWN):
        return  # Nothing is open; a denial is the owner's, or the policy's, and says why.
      self._log.check_pace()
      reason = 'It is over.' if is_over else 'The experimenter has withdrawn it.'
      self._log.write('withdrawn', run=run_id, by=requests.BY_EXPERIMENTER, why=reason)
      self._settle(request, requests.WITHDRAWN, requests.BY_EXPERIMENTER, reason)

  def check_columns(self, run_id: str, columns: Iterable[str]) -> None:
    """Checks that the data that a run would have are those that its request names.

    Raises:
      Refused: the run is not approved, or a column is none of those.
    """
    with self._log.refusals(run_id):
      named = {column.name for column in self._approved(run_id).columns}
      for column in columns:
        if column not in named:
          raise Refused(f'run {short(run_id)} would use column {column}, which it does not name')

  def check_graph(self, run_id: str, library: bytes) -> None:
    """Checks a serialised `FunctionDefLibrary` before it is run.

    Raises:
      Refused: the run is not approved; the library is not one of those it names by SHA-256; or it
        has an operation that is not allowed or not named (`graph_check`).
    """
    found = hashlib.sha256(library).hexdigest()
    with self._log.refusals(run_id, graph=found):
      proposal = self._approved(run_id)
      named = next((graph for graph in proposal.graphs if graph.sha256 == found), None)
      if named is None:
        raise Refused(f'graph {short(found)} is none of those that run {short(run_id)} names')
      if graph_check.check(library) != named.operations:
        raise Refused(f'graph {short(found)} has other operations than the request says')
      self._log.write('graph checked', run=run_id, graph=found, bytes=len(library))

  def admit(
    self,
    run_id: str,
    kind: str,
    round_num: int,
    clients: Optional[int] = None,
    rows: Optional[int] = None,
  ) -> None:
    """Whether something may be computed from the data, and leave; pays for it.

    What is paid for a round is paid once, however often the round is asked for.

    Args:
      run_id: of the proposal.
      kind: one of `proposal.KINDS`.
      round_num: 1 … total_rounds; 0 for what is before the first round (statistics of columns, the
        untrained model's evaluation).
      clients: how many clients are behind what would leave.
      rows: how many rows are; each is needed where the policy sets a minimum.

    Raises:
      Refused: the run is not approved, the kind is none that may leave, the round is beyond the
        run's, too few are behind it, or the privacy budget does not suffice.
    """
    with self._log.refusals(run_id, kind=kind, round=round_num):
      proposal = self._approved(run_id)
      decisions.check_round(proposal, kind, round_num)
      self._decisions.check_enough(clients, rows)
      facts = self._decisions.pay(proposal, round_num) if kind in proposals.MODEL_KINDS else {}
      self._log.write('admitted', run=run_id, kind=kind, round=round_num, **facts)
      self._answered.admit((run_id, kind, round_num))

  def reports(self, run_id: str) -> tuple[str, ...]:
    """What kinds of numbers about clients go with what they send in a run.

    Raises:
      Refused: the run is not approved.
    """
    with self._log.refusals(run_id):
      asked = self._approved(run_id)
      released = asked.release(proposals.TRAINING_METRICS) and not self._decisions.withheld(asked)
    metrics = (proposals.TRAINING_METRICS,) if released else ()
    return (proposals.COUNTS, *metrics)

  def noise(self, run_id: str) -> Optional[site_noise.SiteNoise]:
    """What this site adds to what its clients would send in a run; None where it adds nothing.

    Raises:
      Refused: the run is not approved.
      UsageError: the folder's secret cannot be read.
    """
    with self._log.refusals(run_id):
      asked = self._approved(run_id)
    return site_noise.of_site(self._folder, asked) if asked.privacy.site_draws else None

  def noised(self, run_id: str, round_num: int, content: bytes) -> None:
    """Writes to the log what clients send in a round with the site's noise, also where it is sent
    as a part of a sum: another answer under the same noise would tell more than was paid for.

    Raises:
      Refused: the run is not approved, or this was something else before.
    """
    step = run_id, NOISED, round_num
    with self._log.refusals(run_id, kind=NOISED, round=round_num), self._answered.lock:
      self._approved(run_id)
      found = hashlib.sha256(content).hexdigest()
      if self._answered.check_first(step, found):
        self._log.write('noised', run=run_id, kind=NOISED, round=round_num, sha256=found)

  def leaves(
    self, run_id: str, kind: str, round_num: int, message: bytes, beside: Sequence[str] = ()
  ) -> None:
    """Writes to the log what is about to leave; when it returns, the line is on the disk.

    Where the site's own noise is what protects (`local` privacy of updates that are not masked), a
    round is answered in one message, and again only with the same bytes: an answer with new noise
    would tell more than was paid for.

    Args:
      run_id, kind, round_num: as they were admitted.
      message: the bytes.
      beside: further kinds that are in the same message; its bytes count as of the first.

    Raises:
      Refused: a kind and round were not admitted since the site has started; the run is no
        longer approved; it is more than the request says; or it is another answer than before.
    """
    step, so_far = (run_id, kind, round_num), self._answered
    with self._log.refusals(run_id, kind=kind, round=round_num), so_far.lock:
      proposal = self._approved(run_id)
      so_far.check_admitted(run_id, (kind, *beside), round_num)
      most = decisions.release_of(proposal, kind).bytes_per_round
      total = so_far.size_with(step, len(message), most)
      content = hashlib.sha256(message).hexdigest()
      if proposal.privacy.kind == proposals.LOCAL and kind == proposals.UPDATES:
        so_far.check_first(step, content)
      facts = {'kind': kind, 'beside': list(beside), 'round': round_num}
      self._log.write('leaves', run=run_id, **facts, bytes=len(message), sha256=content)
      so_far.left(step, total)

  def check_use(self, run_id: str, graph_hash: str) -> None:
    """Checks how a graph is used, which its library does not say: what of it leaves, what stays.

    Raises:
      Refused: the run is not approved, or its request says otherwise.
    """
    with self._log.refusals(run_id, graph=graph_hash):
      if not proposals.names_use(self._approved(run_id), graph_hash):
        raise Refused(
          f'graph {short(graph_hash)} is to be used in another way than run {short(run_id)} says'
        )

  def least_others(self, run_id: str) -> int:
    """With how many other sites at least what this one sends is added up.

    Raises:
      Refused: the run is not approved.
    """
    with self._log.refusals(run_id):
      return self._approved(run_id).secure_aggregation.least_others

  def signer(self, name: str) -> Optional[signer_lib.Signer]:
    """What the site of this name signs with in sums by the protocol; None where nobody signs.

    Raises:
      UsageError: the policy has another key for this site, or none.
    """
    sites = self.policy.secure_aggregation.sites
    return signer_lib.of_site(name, self._folder, sites) if sites else None

  def received(self, run_id: str, kind: str, round_num: int, message: bytes) -> None:
    """Writes to the log what has come in of a run.

    Raises:
      Refused: the run is not approved.
    """
    facts = {'kind': kind, 'round': round_num, 'bytes': len(message)}
    with self._log.refusals(run_id, kind=kind, round=round_num):
      self._approved(run_id)
    self.requests.heard(run_id)
    self._log.write('received', run=run_id, **facts, sha256=hashlib.sha256(message).hexdigest())

  def survey(self, kind: str) -> None:
    """Whether something may be said before any run is asked for.

    Args:
      kind: one of `proposal.SURVEY_KINDS`.

    Raises:
      Refused: the policy keeps it for itself, or too much was asked for in the last hour.
    """
    with self._log.refusals('', kind=kind):
      self._log.check_pace()
      if kind not in self.policy.survey.kinds:
        raise Refused(f'the policy of this site does not let {kind} be known')

  @property
  def sums_by_protocol(self) -> bool:
    """Whether sums of columns are given by secure aggregation only."""
    return self.policy.survey.sums == proposals.PROTOCOL

  @property
  def least_others_of_surveys(self) -> int:
    """With how many other sites at least sums of columns are added up."""
    return self.policy.secure_aggregation.least_others

  def surveyed(self, kind: str, message: bytes) -> None:
    """Writes to the log what is about to be said before any run is asked for."""
    sha256 = hashlib.sha256(message).hexdigest()
    self._log.write('surveyed', kind=kind, bytes=len(message), sha256=sha256)

  def _approved(self, run_id: str) -> Proposal:
    """The proposal of a run that may go on; raises `Refused` for others."""
    request = self.requests.get(run_id)
    if request.status != requests.APPROVED:
      raise Refused(f'run {short(run_id)} is {request.status}: {" ".join(request.reasons)}')
    self._decisions.check_approval(request)
    self._log.check_length(run_id, request.proposal.total_rounds)
    return request.proposal

  def _settle(
    self, request: requests.Request, status: str, by: str, reason: str, note: str = ''
  ) -> None:
    self.requests.put(request.changed(status, by, (reason,), note))

  def close(self) -> None:
    """Writes down what is still to be said."""
    self._log.close()

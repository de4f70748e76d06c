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
    guard.leaves(run_id, kind, round_num, message)       before the reply is sent

Whatever is not let through raises `Refused`, and is in the log. Several processes may have a guard
of the same folder: what one of them approves or withdraws the others see with their next call. An
approval holds under the policy that a guard is given: a run that the policy denies today admits
nothing, whoever approved it before.
"""

from collections.abc import Iterable, Iterator, Sequence
import contextlib
import dataclasses
import hashlib
import math
import pathlib
import threading
from typing import Any, Optional

from fl_research.federation import (
  audit_log,
  budget,
  graph_check,
  plain_words,
  policy,
  quota,
  requests,
  signing,
)
from fl_research.federation import proposal as proposals
from fl_research.federation import signer as signer_lib
from fl_research.federation.proposal import Proposal
from fl_research.federation.refusal import Refused
from fl_research.registry import UsageError

REQUESTS, BUDGET, LOG = 'requests', 'budget.json', 'audit.log'
"""The names in a guard's folder."""

HOUR = 3600.0
MOST_REFUSALS, MOST_ASKED = 200, 5000
"""Lines an hour that anybody can cause: refusals, beyond which they are counted and their number is
a line; and what is asked for, beyond which it is refused. So nobody can fill the disk."""

_LONGEST = 1000
_STATUS = {
  policy.ALLOWED: requests.APPROVED,
  policy.ASK: requests.WAITING,
  policy.DENIED: requests.DENIED,
}
_Step = tuple[str, str, int]


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

  Raises:
    UsageError: the folder's log, budget or requests cannot be read, do not fit together, or the
      log is broken.
  """

  def __init__(self, folder: pathlib.Path, rules: policy.Policy, data_set: Optional[str] = None):
    folder.mkdir(parents=True, exist_ok=True)
    self._folder, self.policy, self.data_set = folder, rules, data_set
    self.requests = requests.Store(folder / REQUESTS)
    self.ledger = budget.Ledger(folder / BUDGET)
    self.log = audit_log.AuditLog(folder / LOG)
    self._allowed: set[tuple[str, str]] = set()
    self._left: dict[_Step, int] = {}
    self._first_answers: dict[_Step, str] = {}
    self._lock = threading.Lock()
    self._refusals, self._asked = quota.Quota(MOST_REFUSALS, HOUR), quota.Quota(MOST_ASKED, HOUR)
    self._check_folder()

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
    with self._logs_refusals(run_id):
      _check_signature(proposal, signature)
      if self.requests.has(run_id):
        known = self.requests.get(run_id)
        if known.status in (requests.WAITING, requests.APPROVED) or known.by == requests.BY_OWNER:
          return Answer(known.status, known.reasons, self._withheld(proposal))
      self._check_pace()
      decision = self.decide(proposal)
      made = requests.new(proposal, _STATUS[decision.verdict], decision.reasons)
      self.requests.put(made)
      self.requests.forget({run for runs in self.ledger.data_sets().values() for run in runs})
      who = proposal.experimenter
      self._write(
        'asked', run=run_id, name=who.name, key=who.key, status=made.status, why=made.reasons
      )
      return Answer(made.status, made.reasons, self._withheld(proposal))

  def decide(self, proposal: Proposal) -> policy.Decision:
    """What the policy makes of a request, after all that has gone before."""
    if self.data_set not in (None, proposal.data_set):
      reason = f'The data set here is {self.data_set}, and the request is for {proposal.data_set}.'
      return policy.Decision(policy.DENIED, (reason,))
    return policy.decide(self.policy, proposal, self.history(proposal))

  def history(self, proposal: Proposal) -> policy.History:
    """What has gone before a request, other than itself."""
    others = [r for r in self.requests.all() if r.run_id != proposal.run_id]
    approved = [r.proposal for r in others if r.status == requests.APPROVED]
    rest = {r.run_id for r in others if r.status != requests.APPROVED}
    made = [run for runs in self.ledger.data_sets().values() for run in runs.items()]
    rounds = sum(other.total_rounds for other in approved)
    rounds += sum(len(spent.rounds) for run_id, spent in made if run_id in rest)
    runs = dict(self.ledger.runs(proposal.data_set))
    runs.pop(proposal.run_id, None)
    runs |= {p.run_id: self._in_full(p) for p in approved if p.data_set == proposal.data_set}
    own, delta = self._in_full(proposal), self.policy.privacy.delta_of(proposal.data_set)
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
    delta = self.policy.privacy.delta_of(data_set)
    spent = budget.epsilon(self.ledger.runs(data_set), delta)
    return plain_words.describe(proposal, self.policy, self.history(proposal), spent)

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
    self._write('approved', run=run_id, by=requests.BY_OWNER, note=note)
    approved = 'The owner of the data has approved it.'
    self._settle(request, requests.APPROVED, requests.BY_OWNER, approved, note)

  def deny(self, run_id: str, reason: str) -> None:
    """The owner does not let a run through, or no longer: it admits nothing from now on."""
    request = self.requests.get(run_id)
    self._write('denied', run=run_id, by=requests.BY_OWNER, why=reason)
    self._settle(request, requests.DENIED, requests.BY_OWNER, reason)

  def withdraw(self, run_id: str, is_over: bool = False) -> None:
    """The experimenter wants no more of it: the run admits nothing from now on.

    Args:
      run_id: the run.
      is_over: whether it was made to its end, and not given up.

    Raises:
      Refused: it was never asked for.
    """
    with self._logs_refusals(run_id):
      request = self.requests.get(run_id)
      if request.status in (requests.DENIED, requests.WITHDRAWN):
        return  # Nothing is open; a denial is the owner's, or the policy's, and says why.
      self._check_pace()
      reason = 'It is over.' if is_over else 'The experimenter has withdrawn it.'
      self._write('withdrawn', run=run_id, by=requests.BY_EXPERIMENTER, why=reason)
      self._settle(request, requests.WITHDRAWN, requests.BY_EXPERIMENTER, reason)

  def check_columns(self, run_id: str, columns: Iterable[str]) -> None:
    """Checks that the data that a run would have are those that its request names.

    Raises:
      Refused: the run is not approved, or a column is none of those.
    """
    with self._logs_refusals(run_id):
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
    with self._logs_refusals(run_id, graph=found):
      proposal = self._approved(run_id)
      named = next((graph for graph in proposal.graphs if graph.sha256 == found), None)
      if named is None:
        raise Refused(f'graph {short(found)} is none of those that run {short(run_id)} names')
      if graph_check.check(library) != named.operations:
        raise Refused(f'graph {short(found)} has other operations than the request says')
      self._write('graph checked', run=run_id, graph=found, bytes=len(library))

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
    with self._logs_refusals(run_id, kind=kind, round=round_num):
      proposal = self._approved(run_id)
      _release(proposal, kind)
      first = 1 if kind in proposals.MODEL_KINDS else 0
      if not first <= round_num <= proposal.total_rounds:
        raise Refused(
          f'round {round_num} of {kind} is none of run {short(run_id)}, which has '
          f'{first} to {proposal.total_rounds}'
        )
      self._check_minimum('clients', clients, self.policy.release.least_clients)
      self._check_minimum('rows', rows, self.policy.release.least_rows)
      facts = self._pay(proposal, round_num) if kind in proposals.MODEL_KINDS else {}
      self._write('admitted', run=run_id, kind=kind, round=round_num, **facts)
      with self._lock:
        self._left[run_id, kind, round_num] = 0

  def reports(self, run_id: str) -> tuple[str, ...]:
    """What kinds of numbers about clients go with what they send in a run.

    Raises:
      Refused: the run is not approved.
    """
    with self._logs_refusals(run_id):
      asked = self._approved(run_id)
      released = asked.release(proposals.TRAINING_METRICS) and not self._withheld(asked)
    metrics = (proposals.TRAINING_METRICS,) if released else ()
    return (proposals.COUNTS, *metrics)

  def _withheld(self, proposal: Proposal) -> tuple[str, ...]:
    asked = proposal.release(proposals.TRAINING_METRICS) is not None
    return (proposals.TRAINING_METRICS,) if asked and self.policy.release.withholds_metrics else ()

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
    step = run_id, kind, round_num
    with self._logs_refusals(run_id, kind=kind, round=round_num), self._lock:
      proposal = self._approved(run_id)
      for each in (kind, *beside):
        if (run_id, each, round_num) not in self._left:
          raise Refused(f'{each} of round {round_num} were not admitted')
      size = self._left[step] + len(message)
      most = _release(proposal, kind).bytes_per_round
      if size > most:
        raise Refused(f'{size} bytes of {kind} in round {round_num}; the request says {most}')
      content = hashlib.sha256(message).hexdigest()
      only_once = proposal.privacy.kind == proposals.LOCAL and kind == proposals.UPDATES
      if only_once and self._first_answers.setdefault(step, content) != content:
        raise Refused(f'round {round_num} was answered with other bytes before')
      facts = {'kind': kind, 'beside': list(beside), 'round': round_num}
      self._write('leaves', run=run_id, **facts, bytes=len(message), sha256=content)
      self._left[step] = size

  def check_use(self, run_id: str, graph_hash: str) -> None:
    """Checks how a graph is used, which its library does not say: what of it leaves, what stays.

    Raises:
      Refused: the run is not approved, or its request says otherwise.
    """
    with self._logs_refusals(run_id, graph=graph_hash):
      if not proposals.names_use(self._approved(run_id), graph_hash):
        raise Refused(
          f'graph {short(graph_hash)} is to be used in another way than run {short(run_id)} says'
        )

  def least_others(self, run_id: str) -> int:
    """With how many other sites at least what this one sends is added up.

    Raises:
      Refused: the run is not approved.
    """
    with self._logs_refusals(run_id):
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
    content = hashlib.sha256(message).hexdigest()
    facts = {'kind': kind, 'round': round_num, 'bytes': len(message), 'sha256': content}
    with self._logs_refusals(run_id, kind=kind, round=round_num):
      self._approved(run_id)
    self._write('received', run=run_id, **facts)

  def survey(self, kind: str) -> None:
    """Whether something may be said before any run is asked for.

    Args:
      kind: one of `proposal.SURVEY_KINDS`.

    Raises:
      Refused: the policy keeps it for itself, or too much was asked for in the last hour.
    """
    with self._logs_refusals('', kind=kind):
      self._check_pace()
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
    content = hashlib.sha256(message).hexdigest()
    self._write('surveyed', kind=kind, bytes=len(message), sha256=content)

  def _approved(self, run_id: str) -> Proposal:
    """The proposal of a run that may go on; raises `Refused` for others."""
    request = self.requests.get(run_id)
    if request.status != requests.APPROVED:
      raise Refused(f'run {short(run_id)} is {request.status}: {" ".join(request.reasons)}')
    if (run_id, request.by) not in self._allowed:
      decision = self.decide(request.proposal)
      by_person = request.by == requests.BY_OWNER
      if decision.verdict == policy.DENIED or (decision.verdict == policy.ASK and not by_person):
        raise Refused(
          f'run {short(run_id)} was approved under another policy: {" ".join(decision.reasons)}'
        )
      self._allowed.add((run_id, request.by))
    return request.proposal

  def _in_full(self, proposal: Proposal) -> budget.Spent:
    """What all rounds of a run would have spent."""
    mechanism = budget.mechanism_of(proposal, self.policy.privacy.trust_sampling)
    spent = budget.Spent(mechanism)
    has_updates = any(proposal.release(kind) for kind in proposals.MODEL_KINDS)
    return spent.in_full(proposal.total_rounds) if has_updates else spent

  def _pay(self, proposal: Proposal, round_num: int) -> dict[str, Any]:
    data_set, rules = proposal.data_set, self.policy.privacy
    most = rules.budget(data_set).most_epsilon
    after = self.ledger.spend(
      data_set,
      proposal.run_id,
      budget.mechanism_of(proposal, rules.trust_sampling),
      round_num,
      rules.delta_of(data_set),
      math.inf if most is None else most,
    )
    return {'data_set': data_set, 'epsilon': policy.epsilon_text(after)}

  def _check_minimum(self, what: str, there: Optional[int], least: int) -> None:
    if not least:
      return
    if there is None:
      raise Refused(f'how many {what} are behind it was not said; the least is {least}')
    if there < least:
      raise Refused(f'too few {what} are behind it; the least is {least}')

  def _settle(
    self, request: requests.Request, status: str, by: str, reason: str, note: str = ''
  ) -> None:
    self.requests.put(request.changed(status, by, (reason,), note))

  @contextlib.contextmanager
  def _logs_refusals(self, run_id: str, **facts: Any) -> Iterator[None]:
    try:
      yield
    except Refused as error:
      if self._refusals.take():
        # What was asked for is somebody else's text.
        said = {
          name: value[:_LONGEST] if type(value) is str else value for name, value in facts.items()
        }
        self._write('refused', run=run_id[:_LONGEST], why=str(error)[:_LONGEST], **said)
      raise

  def _check_pace(self) -> None:
    if not self._asked.take():
      raise Refused(f'more than {MOST_ASKED:,} things were asked for in an hour; ask again later')

  def _write(self, what: str, **facts: Any) -> None:
    """Adds a line to the log, after one about what was refused without a line of its own."""
    self._tell_of_refusals()
    self.log.append(what, **facts)

  def _tell_of_refusals(self, now: bool = False) -> None:
    missed = self._refusals.missed(now)
    if missed:
      self.log.append('refused without a line', count=missed)

  def close(self) -> None:
    """Writes down what is still to be said."""
    self._tell_of_refusals(now=True)

  def _check_folder(self) -> None:
    """Checks that log, budget and requests fit together, and reads of the log what is needed."""
    path = self.log.path
    fault = audit_log.verify(path)
    if not fault and not path.exists() and (self.requests.all() or self.ledger.data_sets()):
      fault = 'is missing, and there are requests or a budget'
    if fault:
      raise UsageError(f'{path}: {fault}; its owner must look at it before anything is answered')
    in_log = []
    for entry in audit_log.entries(path):
      if entry['what'] == 'admitted' and 'epsilon' in entry:
        in_log.append(entry)
      elif entry['what'] == 'leaves':
        step = entry['run'], entry['kind'], entry['round']
        self._first_answers.setdefault(step, entry['sha256'])
    # Read after the log: another process may be at work, and pays before it writes.
    paid = self.ledger.data_sets()
    for entry in in_log:
      run = paid.get(entry['data_set'], {}).get(entry['run'])
      if run is None or entry['round'] not in run.rounds:
        raise UsageError(
          f'{self.ledger.path}: lacks round {entry["round"]} of run {short(entry["run"])}, which '
          'the log has'
        )


def short(identifier: str) -> str:
  """The beginning of a run id or hash, for people."""
  return identifier[:12]


def _check_signature(proposal: Proposal, signature: bytes) -> None:
  key = proposal.experimenter.key
  if key and not signing.is_signed(proposal.canonical(), signature, key):
    raise Refused(f'the request is not signed by the key that it names ({short(key)})')


def _release(proposal: Proposal, kind: str) -> proposals.Release:
  release = proposal.release(kind)
  if release is None:
    raise Refused(f'{kind} may not leave: run {short(proposal.run_id)} did not ask for it')
  return release

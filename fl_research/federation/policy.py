"""What the owner of data lets experimenters do, as a file of a few lines, and how it decides.

The file is TOML; docs/federation_policy.md explains it line by line. What it does not mention has
no limit, and an empty file asks a person about every request.

A request within all limits gets what `decision.within` says, `ask` (the default) or `allow`. One
beyond a limit gets what the limit's section says by `beyond`: `ask` or `deny`. Of several the
strictest counts. Limits on privacy have no `beyond`: nobody may approve what they deny, short of
changing the file.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import math
import pathlib
import tomllib
from typing import Optional

from fl_research import domains
from fl_research.federation import proposal as proposals
from fl_research.federation import records
from fl_research.federation.proposal import Proposal
from fl_research.registry import UsageError

ALLOWED, ASK, DENIED = 'allowed', 'ask', 'denied'
_STRICTNESS = (ALLOWED, ASK, DENIED)
_VERDICTS = {'allow': ALLOWED, 'ask': ASK, 'deny': DENIED}
_AS_ASKED, _WITHHELD = 'as asked', 'withheld'
_USUAL_DELTA = 1e-5
# Epsilon is often written with three or four digits.
_ROUNDING = 1.001
_BEYOND: domains.Domain = records.one_of('ask', 'deny')
_KEYS: domains.Domain = {
  'valid': lambda v: all(proposals.is_key(key) for key in v.values()),
  'domain': 'a table of names and public keys of 64 hexadecimal digits, lower case',
}


def _words(*accepted: str) -> domains.Domain:
  """The domain of lists of these words."""
  return {'valid': lambda v: set(v) <= set(accepted), 'domain': f'a list of {", ".join(accepted)}'}


@dataclasses.dataclass(frozen=True)
class Experimenters(records.Checked):
  """Who may ask: names with their keys; what others get. Without keys anybody may."""

  keys: Mapping[str, str] = dataclasses.field(default_factory=dict, metadata=_KEYS)
  beyond: str = dataclasses.field(default='deny', metadata=_BEYOND)

  def name(self, key: str) -> str:
    """The name that the owner gave this key; empty when it has none."""
    return next((name for name, own in self.keys.items() if own == key), '')


@dataclasses.dataclass(frozen=True)
class Data(records.Checked):
  """Which data sets may be used, all when None, and which columns must not."""

  sets: Optional[tuple[str, ...]] = None
  withheld_columns: tuple[str, ...] = ()
  beyond: str = dataclasses.field(default='deny', metadata=_BEYOND)


@dataclasses.dataclass(frozen=True)
class Training(records.Checked):
  """What may run: algorithms, all when None; rounds of a run, and of all approved runs."""

  algorithms: Optional[tuple[str, ...]] = None
  most_rounds_per_run: Optional[int] = dataclasses.field(default=None, metadata=domains.COUNT)
  most_rounds: Optional[int] = dataclasses.field(default=None, metadata=domains.COUNT)
  beyond: str = dataclasses.field(default='ask', metadata=_BEYOND)


@dataclasses.dataclass(frozen=True)
class Budget(records.Checked):
  """What all runs on a data set may cost together, and the least noise (z) of each."""

  most_epsilon: Optional[float] = dataclasses.field(default=None, metadata=domains.FROM_0)
  delta: Optional[float] = dataclasses.field(default=None, metadata=proposals.DELTA)
  least_noise: Optional[float] = dataclasses.field(default=None, metadata=domains.FROM_0)


@dataclasses.dataclass(frozen=True)
class PrivacyRules(Budget):
  """The kinds of privacy that are enough, and the budget of each data set.

  Attributes:
    kinds: some of `proposal.PRIVACY`.
    trust_sampling: whether ε is smaller where the experimenter says that cohorts are drawn at
      random, of so many clients and unseen by anybody; a site cannot check that.
    trust_seed: whether noise of `local` privacy may come from the run's seed, as a simulation's
      does; whoever knows the seed can take it away again.
    data_sets: budgets of single data sets; what they leave out is as for all.
  """

  kinds: tuple[str, ...] = dataclasses.field(
    default=proposals.PRIVACY, metadata=_words(*proposals.PRIVACY)
  )
  trust_sampling: bool = True
  trust_seed: bool = False
  data_sets: Mapping[str, Budget] = dataclasses.field(default_factory=dict)

  def budget(self, data_set: str) -> Budget:
    """Of this data set."""
    own = self.data_sets.get(data_set, Budget())
    pick = lambda name: next(
      (v for v in (getattr(own, name), getattr(self, name)) if v is not None), None
    )
    return Budget(pick('most_epsilon'), pick('delta'), pick('least_noise'))

  def delta_of(self, data_set: str) -> float:
    """The δ for which a data set's ε is computed."""
    return self.budget(data_set).delta or _USUAL_DELTA


@dataclasses.dataclass(frozen=True)
class SecureAggregationRules(records.Checked):
  """The least that hides a site's update among others', and among how many.

  Attributes:
    sites: public keys of all sites, this one included; where there are some, it takes part in
      sums by the protocol with these only, and their sessions are signed.
  """

  least: str = dataclasses.field(
    default=proposals.NO_SUMS, metadata=records.one_of(*proposals.SECURE_AGGREGATION)
  )
  least_others: int = dataclasses.field(default=0, metadata=domains.COUNT_OR_0)
  sites: Mapping[str, str] = dataclasses.field(default_factory=dict, metadata=_KEYS)
  beyond: str = dataclasses.field(default='deny', metadata=_BEYOND)


@dataclasses.dataclass(frozen=True)
class ReleaseRules(records.Checked):
  """What may leave, and how many clients and rows a message of it must be about.

  Attributes:
    metrics: `as asked`; or `withheld`: the site leaves training metrics out of what it sends,
      whoever asks for them, and the run goes on without them.
  """

  kinds: tuple[str, ...] = dataclasses.field(
    default=proposals.KINDS, metadata=_words(*proposals.KINDS)
  )
  least_clients: int = dataclasses.field(default=0, metadata=domains.COUNT_OR_0)
  least_rows: int = dataclasses.field(default=0, metadata=domains.COUNT_OR_0)
  metrics: str = dataclasses.field(default=_AS_ASKED, metadata=records.one_of(_AS_ASKED, _WITHHELD))
  beyond: str = dataclasses.field(default='deny', metadata=_BEYOND)

  @property
  def withholds_metrics(self) -> bool:
    """Whether training metrics stay at the site."""
    return self.metrics == _WITHHELD


@dataclasses.dataclass(frozen=True)
class SurveyRules(records.Checked):
  """What anybody may learn who has not asked for a run yet, and needs it to do so.

  Attributes:
    kinds: some of counts and column statistics.
    least_rows: how many training rows a category must have to be named.
    sums: how sums of columns are added up with those of other sites: `clear`, by the experimenter's
      program, which sees each; or by `protocol`, and then it sees the sum alone.
  """

  kinds: tuple[str, ...] = dataclasses.field(
    default=proposals.SURVEY_KINDS, metadata=_words(*proposals.SURVEY_KINDS)
  )
  least_rows: int = dataclasses.field(default=1, metadata=domains.COUNT)
  sums: str = dataclasses.field(
    default=proposals.CLEAR, metadata=records.one_of(proposals.CLEAR, proposals.PROTOCOL)
  )


@dataclasses.dataclass(frozen=True)
class DecisionRules(records.Checked):
  """What a request gets that is within all limits, and how long it stays open.

  Attributes:
    within: `ask` or `allow`.
    silent_days: a request that waits, or a run that was approved, is withdrawn when nothing was
      heard of its experimenter's program for so long; never when None.
  """

  within: str = dataclasses.field(default='ask', metadata=records.one_of('ask', 'allow'))
  silent_days: Optional[float] = dataclasses.field(default=None, metadata=domains.POSITIVE)


@dataclasses.dataclass(frozen=True)
class Policy(records.Checked):
  """The owner's rules, a section of the file each."""

  experimenters: Experimenters = Experimenters()
  data: Data = Data()
  training: Training = Training()
  privacy: PrivacyRules = PrivacyRules()
  secure_aggregation: SecureAggregationRules = SecureAggregationRules()
  release: ReleaseRules = ReleaseRules()
  survey: SurveyRules = SurveyRules()
  decision: DecisionRules = DecisionRules()


def read(path: pathlib.Path) -> Policy:
  """The policy in a file.

  Raises:
    UsageError: there is none, or something in it is not understood.
  """
  try:
    values = tomllib.loads(path.read_text(encoding='utf-8'))
  except OSError as error:
    raise UsageError(f'{path}: {error.strerror}') from error
  except UnicodeDecodeError as error:
    raise UsageError(f'{path}: is not a text file in UTF-8') from error
  except tomllib.TOMLDecodeError as error:
    raise UsageError(f'{path}: is not TOML: {error}') from error
  return records.read(Policy, values, str(path))


@dataclasses.dataclass(frozen=True)
class History:
  """What has gone before, as far as a decision needs it.

  Attributes:
    rounds: of all other runs: those approved in full, the rest as far as they came.
    described_epsilon: ε of the run that is asked for, at its δ, as this site computes it from what
      the request says.
    run_epsilon: the same from what this site believes of that (`PrivacyRules.trust_sampling`).
    epsilon_after: of its data set, were this run and all that are approved made in full.
    conflict: why this run cannot be added to the others of its data set; empty when it can.
  """

  rounds: int = 0
  described_epsilon: float = 0.0
  run_epsilon: float = 0.0
  epsilon_after: float = 0.0
  conflict: str = ''


@dataclasses.dataclass(frozen=True)
class Decision:
  """What becomes of a request.

  Attributes:
    verdict: `ALLOWED`, `ASK` or `DENIED`.
    reasons: sentences in plain words.
  """

  verdict: str
  reasons: tuple[str, ...]


def decide(policy: Policy, proposal: Proposal, history: History) -> Decision:
  """What the policy makes of a request."""
  found = list(_findings(policy, proposal, history))
  if not found:
    verdict = _VERDICTS[policy.decision.within]
    last = 'which is enough.' if verdict == ALLOWED else 'which has a person decide.'
    return Decision(verdict, (f'The request is within all limits of the policy, {last}',))
  strictest = max((verdict for verdict, _ in found), key=_STRICTNESS.index)
  return Decision(strictest, tuple(reason for _, reason in found))


def _findings(policy: Policy, proposal: Proposal, history: History) -> Iterator[tuple[str, str]]:
  """What is beyond a limit: the verdict, and the reason as a sentence."""
  for beyond, reasons in (
    (policy.experimenters.beyond, _who(policy.experimenters, proposal)),
    (policy.data.beyond, _data(policy.data, proposal)),
    (policy.training.beyond, _training(policy.training, proposal, history)),
    ('deny', _privacy(policy.privacy, proposal, history)),
    (policy.secure_aggregation.beyond, _sums(policy.secure_aggregation, proposal)),
    (policy.release.beyond, _releases(policy.release, proposal)),
  ):
    for reason in reasons:
      yield _VERDICTS[beyond], reason


def _who(rules: Experimenters, proposal: Proposal) -> Iterator[str]:
  if rules.keys and not rules.name(proposal.experimenter.key):
    yield f'{proposal.experimenter.name} has no key that the policy knows.'


def _data(rules: Data, proposal: Proposal) -> Iterator[str]:
  if rules.sets is not None and proposal.data_set not in rules.sets:
    yield f'The data set {proposal.data_set} is none of those that may be used.'
  for column in proposal.columns:
    if column.name in rules.withheld_columns:
      yield f'The column {column.name} is withheld.'


def _training(rules: Training, proposal: Proposal, history: History) -> Iterator[str]:
  if rules.algorithms is not None and proposal.algorithm not in rules.algorithms:
    yield f'The algorithm {proposal.algorithm} is none of those that may run.'
  rounds = proposal.total_rounds
  if rules.most_rounds_per_run is not None and rounds > rules.most_rounds_per_run:
    yield f'A run may have {rules.most_rounds_per_run} rounds, and this one has {rounds}.'
  if rules.most_rounds is not None and history.rounds + rounds > rules.most_rounds:
    yield (
      f'All runs together may have {rules.most_rounds} rounds; with this one they would have '
      f'{history.rounds + rounds}.'
    )


def _privacy(rules: PrivacyRules, proposal: Proposal, history: History) -> Iterator[str]:
  asked, limits = proposal.privacy, rules.budget(proposal.data_set)
  if asked.kind not in rules.kinds:
    yield (
      f'Differential privacy is {asked.kind}; accepted is {" or ".join(rules.kinds) or "nothing"}.'
    )
  if asked.kind == proposals.LOCAL and not asked.site_draws and not rules.trust_seed:
    yield (
      "Noise would come from the run's seed, by which the experimenter can take it away again; "
      'accepted is noise that this site draws (--dp_noise=cryptographic).'
    )
  if limits.least_noise is not None and asked.noise_multiplier < limits.least_noise:
    yield (
      f'The noise multiplier is {asked.noise_multiplier:g}; the least is {limits.least_noise:g}.'
    )
  if asked.epsilon is not None and history.described_epsilon > asked.epsilon * _ROUNDING:
    yield (
      f'The request states epsilon {asked.epsilon:.4g}; what it describes has '
      f'{history.described_epsilon:.4g}.'
    )
  if history.conflict:
    yield history.conflict
  elif limits.most_epsilon is not None and history.epsilon_after > limits.most_epsilon:
    yield (
      f'All runs on {proposal.data_set} together may cost epsilon {limits.most_epsilon:g}; with '
      f'this one they would cost {epsilon_text(history.epsilon_after)}.'
    )


def epsilon_text(epsilon: float) -> str:
  """ε to three digits, in words where it is infinite."""
  return 'more than any number' if math.isinf(epsilon) else f'{epsilon:.3g}'


def _sums(rules: SecureAggregationRules, proposal: Proposal) -> Iterator[str]:
  order = proposals.SECURE_AGGREGATION
  asked = proposal.secure_aggregation
  sends = any(proposal.release(kind) for kind in proposals.MODEL_KINDS)
  if not sends:
    return
  if order.index(asked.kind) < order.index(rules.least):
    yield f'Secure aggregation is {asked.kind}; the least that is accepted is {rules.least}.'
  if asked.least_others < rules.least_others:
    yield (
      f'The update would be summed with those of at least {asked.least_others} other sites; '
      f'accepted is {rules.least_others}.'
    )


def _releases(rules: ReleaseRules, proposal: Proposal) -> Iterator[str]:
  for release in proposal.releases:
    withheld = rules.withholds_metrics and release.kind == proposals.TRAINING_METRICS
    if release.kind not in rules.kinds and not withheld:
      yield f'{release.kind.capitalize()} must not leave the site.'

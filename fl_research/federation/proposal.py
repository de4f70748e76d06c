"""What an experimenter asks a site for, whole: nothing else of a run reaches the data.

A proposal is a table of JSON. Its run id is the SHA-256 of everything in it, so that an approval is
of this run and no other: whoever changes a number asks anew.
"""

from collections.abc import Iterable, Mapping
import dataclasses
import functools
import hashlib
import json
from typing import Any, Optional

from fl_research import domains
from fl_research.aggregation.privacy import accountant, discrete_gaussian
from fl_research.federation import records
from fl_research.registry import UsageError

UPDATES, MASKED_UPDATES = 'updates', 'masked updates'
TRAINING_METRICS, EVALUATION_SUMS = 'training metrics', 'evaluation sums'
COLUMN_STATISTICS, COUNTS = 'column statistics', 'counts'
KINDS = (
  UPDATES,
  MASKED_UPDATES,
  TRAINING_METRICS,
  EVALUATION_SUMS,
  COLUMN_STATISTICS,
  COUNTS,
)
"""All that may leave a site."""

SURVEY_KINDS = (COLUMN_STATISTICS, COUNTS)
"""What a request cannot be made without: how many clients and rows there are, and sums over the
columns of a table."""

MODEL_KINDS = (UPDATES, MASKED_UPDATES)
"""What differential privacy and secure aggregation are about: the others they do not cover."""

NO_SUMS, CLEAR, PROTOCOL = 'none', 'clear', 'protocol'
SECURE_AGGREGATION = (NO_SUMS, CLEAR, PROTOCOL)
"""How updates are summed, from what hides least: one by one; as a sum that the engine takes of what
it has seen; as a sum of masked updates, of which the engine sees none (Bonawitz et al. 2017)."""

NOT_PRIVATE, CENTRAL, LOCAL = 'none', 'central', 'local'
PRIVACY = (NOT_PRIVATE, CENTRAL, LOCAL)
"""Who adds the noise of differential privacy: nobody, the engine, the site."""

DELTA: domains.Domain = {'valid': lambda v: 0 < v < 1, 'domain': 'a number above 0 and below 1'}
"""Where a δ is from."""

MOST_BYTES = 4_000_000
"""A larger proposal is not read."""


def is_key(text: str) -> bool:
  """Whether it is 32 bytes, such as a public key or a hash, in hexadecimal."""
  return len(text) == 64 and not set(text) - set('0123456789abcdef')


_HEXADECIMAL: domains.Domain = {
  'valid': is_key,
  'domain': '64 hexadecimal digits, lower case',
}
_NAME: domains.Domain = {
  'valid': lambda v: 0 < len(v) <= 200 and v.isprintable(),
  'domain': 'a line of at most 200 characters',
}
_KEY: domains.Domain = {
  'valid': lambda v: v == '' or is_key(v),
  'domain': f'{_HEXADECIMAL["domain"]}, or empty',
}


@dataclasses.dataclass(frozen=True)
class Experimenter(records.Checked):
  """Who asks.

  Attributes:
    name: as people know them; only the key vouches for it.
    key: the Ed25519 public key in hexadecimal, which needs no fingerprint, as it is no longer than
      one; empty when there is none.
  """

  name: str = dataclasses.field(metadata=_NAME)
  key: str = dataclasses.field(default='', metadata=_KEY)


@dataclasses.dataclass(frozen=True)
class Column(records.Checked):
  """A column of the data that is used, and as what: number, category, label, client, …"""

  name: str = dataclasses.field(metadata=_NAME)
  role: str = dataclasses.field(metadata=_NAME)


@dataclasses.dataclass(frozen=True)
class SecureAggregation(records.Checked):
  """How the site's update is summed with others'.

  Attributes:
    kind: one of `SECURE_AGGREGATION`.
    least_others: the least number of other sites in every sum.
  """

  kind: str = dataclasses.field(default=NO_SUMS, metadata=records.one_of(*SECURE_AGGREGATION))
  least_others: int = dataclasses.field(default=0, metadata=domains.COUNT_OR_0)


@dataclasses.dataclass(frozen=True)
class Privacy(records.Checked):
  """What differential privacy promises of the whole run; one client with its data is the unit.

  Attributes:
    kind: one of `PRIVACY`.
    noise_multiplier: z, the noise's standard deviation in units of the clipping norm.
    clip_norm: the first, or only, clipping norm.
    epsilon: of all rounds, as the experimenter computes it.
    delta: δ.
    sampling: how cohorts are drawn, one of `accountant.ACCOUNTED`; `availability` counts no
      protection by sampling, and is the one for `local`, where who takes part is known.
    num_clients: N, of all sites.
    discrete: whether the noise is the discrete Gaussian; where it is `local` it is then the site's
      own (`fl_research.federation.site_noise`), and else from the run's seed, which others know.
  """

  kind: str = dataclasses.field(default=NOT_PRIVATE, metadata=records.one_of(*PRIVACY))
  noise_multiplier: float = dataclasses.field(default=0.0, metadata=domains.FROM_0)
  clip_norm: float = dataclasses.field(default=0.0, metadata=domains.FROM_0)
  epsilon: Optional[float] = dataclasses.field(default=None, metadata=domains.FROM_0)
  delta: Optional[float] = dataclasses.field(default=None, metadata=DELTA)
  sampling: str = dataclasses.field(
    default='availability', metadata=records.one_of(*accountant.ACCOUNTED)
  )
  num_clients: int = dataclasses.field(default=1, metadata=domains.COUNT)
  discrete: bool = False

  def __post_init__(self):
    super().__post_init__()
    if self.kind == NOT_PRIVATE:
      return
    if self.epsilon is None or self.delta is None:
      raise UsageError(f'epsilon and delta are missing, and kind is {self.kind}')
    if not self.noise_multiplier or not self.clip_norm:
      raise UsageError(f'noise_multiplier and clip_norm are above 0 where kind is {self.kind}')
    if self.kind == LOCAL and self.sampling != 'availability':
      raise UsageError(f'sampling is {self.sampling}; accepted with local is availability')
    if self.site_draws and self.noise_multiplier < discrete_gaussian.SMALLEST_MULTIPLIER:
      raise UsageError(
        f'noise_multiplier is {self.noise_multiplier:g}; accepted with noise of the site is a '
        f'number from {discrete_gaussian.SMALLEST_MULTIPLIER:g} on'
      )

  @property
  def site_draws(self) -> bool:
    """Whether the site adds noise that it draws itself."""
    return self.kind == LOCAL and self.discrete


@dataclasses.dataclass(frozen=True)
class Release(records.Checked):
  """A kind of thing that leaves the site, one of `KINDS`, and the most bytes of it in a round."""

  kind: str = dataclasses.field(metadata=records.one_of(*KINDS))
  bytes_per_round: int = dataclasses.field(metadata=domains.COUNT)


@dataclasses.dataclass(frozen=True)
class Graph(records.Checked):
  """A program that is sent to the site.

  Attributes:
    sha256: of the serialised `FunctionDefLibrary`.
    purpose: what it is for, in words.
    operations: the names of all TensorFlow operations in it, sorted.
  """

  sha256: str = dataclasses.field(metadata=_HEXADECIMAL)
  purpose: str = dataclasses.field(metadata=_NAME)
  operations: tuple[str, ...] = dataclasses.field(
    metadata=dict(
      valid=lambda v: v == tuple(sorted(set(v))), domain='a sorted list without repetitions'
    )
  )


@dataclasses.dataclass(frozen=True)
class Proposal(records.Checked):
  """A run that is asked for.

  Attributes:
    experimenter: who asks.
    data_set: name of the task or data set.
    columns: the columns that are used; those that are not named are not read.
    model, parameters: its name, and how many numbers it has.
    algorithm, aggregator, compressor: names in the registries; no compressor is ''.
    total_rounds, clients_per_round: of the run.
    epochs, batch_size: of a client in a round; 0 stands for a number of steps among the flags, and
      for all examples in one batch.
    secure_aggregation: how updates are summed.
    privacy: what is promised of the whole run.
    releases: what leaves the site; nothing else may.
    graphs: the programs that run at the site; no other may.
    flags: the other settings of the run.

  Raises:
    UsageError: a field is not of its type or in its domain, or two contradict each other.
  """

  experimenter: Experimenter
  data_set: str = dataclasses.field(metadata=_NAME)
  columns: tuple[Column, ...]
  model: str = dataclasses.field(metadata=_NAME)
  parameters: int = dataclasses.field(metadata=domains.COUNT)
  algorithm: str = dataclasses.field(metadata=_NAME)
  aggregator: str = dataclasses.field(metadata=_NAME)
  compressor: str
  total_rounds: int = dataclasses.field(metadata=domains.COUNT)
  clients_per_round: int = dataclasses.field(metadata=domains.COUNT)
  epochs: int = dataclasses.field(metadata=domains.COUNT_OR_0)
  batch_size: int = dataclasses.field(metadata=domains.COUNT_OR_0)
  secure_aggregation: SecureAggregation
  privacy: Privacy
  releases: tuple[Release, ...]
  graphs: tuple[Graph, ...]
  flags: Mapping[str, Any]

  def __post_init__(self):
    super().__post_init__()
    kinds = [release.kind for release in self.releases]
    masked = self.secure_aggregation.kind == PROTOCOL
    if len(set(kinds)) < len(kinds):
      raise UsageError('releases names a kind twice')
    if UPDATES in kinds and masked:
      raise UsageError('releases has updates, and secure_aggregation.kind is protocol')
    if MASKED_UPDATES in kinds and not masked:
      raise UsageError('releases has masked updates, and secure_aggregation.kind is not protocol')
    if self.privacy.kind != NOT_PRIVATE and self.clients_per_round > self.privacy.num_clients:
      raise UsageError('clients_per_round is more than privacy.num_clients')

  @functools.cached_property
  def run_id(self) -> str:
    """The SHA-256 of all of it, in hexadecimal."""
    return hashlib.sha256(self.canonical()).hexdigest()

  def canonical(self) -> bytes:
    """The bytes that are hashed and signed: JSON with sorted keys, without spaces, in UTF-8."""
    values = records.to_values(self)
    text = json.dumps(
      values, sort_keys=True, separators=(',', ':'), ensure_ascii=False, allow_nan=False
    )
    return text.encode()

  def to_json(self) -> str:
    """For people and files: `from_json` gives it back."""
    values = {'run_id': self.run_id, **records.to_values(self)}
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)

  def release(self, kind: str) -> Optional[Release]:
    """What is said of this kind; None when it may not leave."""
    return next((release for release in self.releases if release.kind == kind), None)


_USES = 'graphs_as_used'


def uses(hashes: Iterable[str]) -> dict[str, str]:
  """The flag that says how graphs are used: which of their results leave, and which stay.

  Args:
    hashes: of the graphs with all that is said of them, not of their libraries alone.
  """
  return {_USES: ' '.join(sorted(hashes))}


def names_use(asked: Proposal, graph_hash: str) -> bool:
  """Whether a request says that a graph is used just so."""
  return graph_hash in str(asked.flags.get(_USES, '')).split()


def from_json(text: str | bytes, where: str = 'proposal') -> Proposal:
  """The proposal that a text describes.

  Args:
    text: JSON, with or without the run id.
    where: begins the message when it is none.

  Raises:
    UsageError: it is too long, no JSON, no such table, or its run id is not the hash of the rest.
  """
  if len(text) > MOST_BYTES:
    raise UsageError(f'{where}: is longer than {MOST_BYTES} bytes')
  try:
    values = json.loads(text, object_pairs_hook=_without_repetitions)
  except (ValueError, RecursionError) as error:
    raise UsageError(f'{where}: is not JSON ({error})') from error
  if not isinstance(values, dict):
    raise UsageError(f'{where}: is not a table')
  run_id = values.pop('run_id', None)
  made = records.read(Proposal, values, where)
  if run_id not in (None, made.run_id):
    raise UsageError(f'{where}: its run id is not the hash of its content')
  return made


def _without_repetitions(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  values = dict(pairs)
  if len(values) < len(pairs):
    raise ValueError('a key stands there twice')
  return values

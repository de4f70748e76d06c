"""The settings of a run: one vocabulary for flags, hparams.csv, sweeps and checks.

`Settings` is a plain dataclass; every field is a flag of `experiments.train`, with its help, its
group and its domain beside it. Hyperparameters of single methods come from the registries (see
`registry_flags`) and live in `Settings.method_flags`. Nothing here imports TensorFlow, so that
`--help` and the refusal of bad flags take no time.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any, Optional

from fl_research import (
  aggregation,
  algorithms,
  domains,
  models,
  optimizers,
  registry,
  runtime,
  tasks,
)
from fl_research.aggregation import compression, privacy
from fl_research.aggregation.compression import chain
from fl_research.datasets import partition as partition_lib
from fl_research.optimizers import schedules
from fl_research.population import attacks, cohorts
from fl_research.registry import Hyperparameter

FULL = 'full'
"""`--client_batch_size=full`: B = infinity, all of a client's examples in one batch."""

# A batch is padded to its full size, so a mistyped one would fill the memory.
_LARGEST_BATCH = 1_000_000

_CLIENT_HALF = 'fl_research.round.client_half'

CLIENT_WEIGHTINGS: Mapping[str, registry.Entry] = {
  'num_examples': registry.Entry(_CLIENT_HALF, 'its number of examples'),
  'uniform': registry.Entry(_CLIENT_HALF, 'one'),
  'num_tokens': registry.Entry(_CLIENT_HALF, 'its number of tokens that are not padding'),
}
"""What a client's update counts in the average, the usual one first."""

NATURAL = 'natural'


def _field(
  default: Any,
  help: str,
  group: str,
  *,
  choices: Optional[Callable[[], Any]] = None,
  valid: Optional[Callable[[Any], bool]] = None,
  domain: str = '',
  identity: bool = True,
  optional: Optional[type] = None,
):
  """A setting: its default, its line of help, and what it may be.

  `identity` is False for settings that cannot change what a run computes; `optional` is the type
  of a setting whose default is None.
  """
  metadata = {
    'help': help,
    'group': group,
    'choices': choices,
    'valid': valid,
    'domain': domain,
    'identity': identity,
    'type': optional or type(default),
  }
  return dataclasses.field(default=default, metadata=metadata)


def _is_batch_size(value: str) -> bool:
  number = int(value) if value.isascii() and value.isdigit() else 0
  return value == FULL or 1 <= number <= _LARGEST_BATCH


@dataclasses.dataclass(frozen=True)
class Settings:
  """All settings of a run (see the module's docstring); each field's help is its documentation."""

  experiment_name: str = _field('', 'name of the run, and of its folder', 'Run')
  output_dir: str = _field('results', 'folder of all runs', 'Run', identity=False)
  seed: int = _field(0, 'fixes every random draw of the run', 'Run', **domains.COUNT_OR_0)
  total_rounds: int = _field(100, 'rounds of training', 'Run', **domains.COUNT)
  target_metric: str = _field(
    '', 'column of metrics.csv that ends the run or that --patience watches', 'Run'
  )
  target_value: Optional[float] = _field(
    None, 'end once --target_metric reaches this', 'Run', optional=float
  )
  patience: int = _field(
    0,
    'end after so many evaluations without a better --target_metric; 0: never',
    'Run',
    **domains.COUNT_OR_0,
  )
  centralized: bool = _field(
    False, 'reference without federation: one client holds all the data', 'Run'
  )
  local_only: bool = _field(False, 'reference without federation: each client alone', 'Run')

  task: str = _field('', 'what to learn', 'Data', choices=lambda: tasks.TASKS)
  model: str = _field(
    '', "the model; the task's own when empty", 'Data', choices=lambda: models.MODELS
  )
  data_dir: str = _field(
    '',
    'folder of original data files; else $FL_RESEARCH_DATA_DIR, else the cache folder',
    'Data',
    identity=False,
  )
  data_file: str = _field('', 'tabular: a CSV or Parquet file; npz: a folder of .npz files', 'Data')
  client_column: str = _field('', 'tabular: the column that says whose a row is', 'Data')
  label_column: str = _field('', 'tabular: the column to predict', 'Data')
  sequence_length: Optional[int] = _field(
    None,
    "text: characters or words per example (default: the data set's usual 80, or 20)",
    'Data',
    optional=int,
    **domains.COUNT,
  )
  synthetic_alpha: float = _field(
    0.0, 'synthetic: how much models differ between clients', 'Data', **domains.FROM_0
  )
  synthetic_beta: float = _field(
    0.0, 'synthetic: how much inputs differ between clients', 'Data', **domains.FROM_0
  )
  partition: str = _field(
    '',
    'who owns which example: natural where the data say so, else a scheme; empty: natural or iid',
    'Data',
    choices=lambda: [NATURAL, *partition_lib.SCHEMES],
  )
  num_clients: Optional[int] = _field(
    None,
    'clients to deal the data to (default 100; synthetic data: 30)',
    'Data',
    optional=int,
    **domains.COUNT,
  )
  held_out_clients_fraction: float = _field(
    0.0,
    'share of the clients that never train and are evaluated as held_out/...',
    'Data',
    **domains.BELOW_1,
  )

  own_test_fraction: float = _field(
    0.0,
    "share of each training client's examples, the last ones of each label, that it is tested on "
    "in place of the data set's test examples; personal models need it where those are of other "
    'people',
    'Data',
    **domains.BELOW_1,
  )
  label_namings: int = _field(
    1,
    'so many groups of clients, each with a permutation of the labels of its own; 1: all name them '
    'as the data set does',
    'Data',
    **domains.COUNT,
  )

  algorithm: str = _field(
    'fedavg', 'the federated optimisation method', 'Method', choices=lambda: algorithms.ALGORITHMS
  )
  client_weighting: str = _field(
    '',
    "what a client's update counts in the average; when empty, what the method's paper has, for "
    'most num_examples',
    'Method',
    choices=lambda: CLIENT_WEIGHTINGS,
  )
  aggregator: str = _field(
    'mean',
    "how the clients' updates are combined",
    'Method',
    choices=lambda: aggregation.AGGREGATORS,
  )
  secure_aggregation: bool = _field(
    False,
    'take sums over clients so that the server sees no single update (Bonawitz et al. 2017)',
    'Privacy',
  )
  secure_sum_bound: float = _field(
    1e4,
    "secure aggregation: greatest entry of a client's weight times its update; beyond it is cut",
    'Privacy',
    **domains.POSITIVE,
  )
  compressor: str = _field(
    '',
    'how updates are encoded: stages in order, such as rotation,quantize:2, or '
    f'{", ".join(compression.COMPRESSORS)}; empty: as floats',
    'Wire',
  )

  dp_noise_multiplier: Optional[float] = _field(
    None,
    'differential privacy: z, the noise on the sum of updates in units of the clipping norm',
    'Privacy',
    optional=float,
    **domains.FROM_0,
  )
  target_epsilon: Optional[float] = _field(
    None,
    'differential privacy: solve for the z with which epsilon is this after total_rounds',
    'Privacy',
    optional=float,
    **domains.POSITIVE,
  )
  dp_clipping: str = _field(
    'fixed', 'how the clipping norm is chosen', 'Privacy', choices=lambda: privacy.CLIPPINGS
  )
  dp_clip_norm: Optional[float] = _field(
    None, 'fixed clipping: largest norm of an update', 'Privacy', optional=float, **domains.POSITIVE
  )
  dp_target_quantile: float = _field(
    0.5,
    'adaptive clipping: gamma, the share of updates that should not be clipped',
    'Privacy',
    **domains.SHARE,
  )
  dp_clip_learning_rate: float = _field(
    0.2, 'adaptive clipping: eta_C, how fast the norm moves', 'Privacy', **domains.POSITIVE
  )
  dp_initial_clip: float = _field(
    0.1, 'adaptive clipping: the first clipping norm', 'Privacy', **domains.POSITIVE
  )
  dp_count_noise: Optional[float] = _field(
    None,
    'adaptive clipping: sigma_b, noise on the count of unclipped updates (default '
    'clients_per_round / 20); above z / 2',
    'Privacy',
    optional=float,
    **domains.FROM_0,
  )
  dp_delta: Optional[float] = _field(
    None,
    'delta, the probability with which epsilon may fail (default clients^-1.1)',
    'Privacy',
    optional=float,
    valid=lambda v: 0 < v < 1,
    domain='a number above 0 and below 1',
  )
  dp_accountant: str = _field(
    'rdp', 'how rounds are composed', 'Privacy', choices=lambda: privacy.ACCOUNTANTS
  )

  attack: str = _field(
    '', 'what attackers do; empty: nobody attacks', 'Attackers', choices=lambda: attacks.ATTACKS
  )
  attacker_fraction: float = _field(
    0.0,
    'share of the clients that attack, the same ones in every round',
    'Attackers',
    **domains.BELOW_1,
  )

  clients_per_round: int = _field(10, 'size of the cohort', 'Clients', **domains.COUNT)
  cohort_sampling: str = _field(
    'uniform', 'how the cohort is drawn', 'Clients', choices=lambda: cohorts.SAMPLINGS
  )
  availability_trace: str = _field(
    '', 'CSV with client_id, first_round, last_round: who can be drawn when', 'Clients'
  )
  straggler_fraction: float = _field(
    0.0,
    'share of the cohort that manages only part of its epochs',
    'Clients',
    **domains.SHARE,
  )
  stragglers: str = _field(
    'keep',
    'whether their partial work counts',
    'Clients',
    choices=lambda: ('keep', 'drop'),
  )
  dropout_probability: float = _field(
    0.0, 'probability that a client fails before it sends its update', 'Clients', **domains.BELOW_1
  )
  over_selection: float = _field(
    1.0,
    'select so many times clients_per_round, and go on with the first that report',
    'Clients',
    valid=lambda v: 1 <= v <= 10,
    domain='a number from 1 to 10',
  )
  device_seconds_per_example: float = _field(
    0.001, 'virtual clock: median time of one example in training', 'Clients', **domains.FROM_0
  )
  device_download_rate: float = _field(
    750_000.0, 'virtual clock: median bytes per second to a client', 'Clients', **domains.POSITIVE
  )
  device_upload_rate: float = _field(
    250_000.0, 'virtual clock: median bytes per second from a client', 'Clients', **domains.POSITIVE
  )
  device_spread: float = _field(
    0.0,
    'virtual clock: sigma of the log-normal spread between devices',
    'Clients',
    **domains.FROM_0,
  )
  client_epochs_per_round: float = _field(
    1.0, "E: passes over the client's examples per round", 'Clients', **domains.POSITIVE
  )
  client_batch_size: str = _field(
    '20',
    'B: examples per step, or "full" for all of them',
    'Clients',
    valid=_is_batch_size,
    domain='an integer from 1 to 1000000, or full',
  )
  max_examples_per_client: int = _field(
    0, 'use at most so many examples of a client per round; 0: all', 'Clients', **domains.COUNT_OR_0
  )
  client_optimizer: str = _field(
    'sgd', "optimiser of the clients' steps", 'Clients', choices=lambda: optimizers.OPTIMIZERS
  )
  client_learning_rate: float = _field(0.1, 'its learning rate', 'Clients', **domains.FROM_0)
  client_lr_schedule: str = _field(
    'constant',
    'how that rate changes with the rounds',
    'Clients',
    choices=lambda: schedules.SCHEDULES,
  )
  client_lr_decay: float = _field(
    0.99, 'decay of the exponential schedule', 'Clients', **domains.POSITIVE
  )
  client_lr_decay_rounds: int = _field(
    1, 'period of the schedule in rounds', 'Clients', **domains.COUNT
  )
  client_gradient_clip_norm: float = _field(
    0.0, 'clip each gradient to this global norm; 0: do not', 'Clients', **domains.FROM_0
  )
  client_weight_decay: float = _field(
    0.0, 'add this times the weights to each gradient', 'Clients', **domains.FROM_0
  )

  server_optimizer: str = _field(
    'sgd', "optimiser of the server's step", 'Server', choices=lambda: optimizers.OPTIMIZERS
  )
  server_learning_rate: float = _field(1.0, 'its learning rate', 'Server', **domains.FROM_0)
  server_lr_schedule: str = _field(
    'constant',
    'how that rate changes with the rounds',
    'Server',
    choices=lambda: schedules.SCHEDULES,
  )
  server_lr_decay: float = _field(
    0.99, 'decay of the exponential schedule', 'Server', **domains.POSITIVE
  )
  server_lr_decay_rounds: int = _field(
    1, 'period of the schedule in rounds', 'Server', **domains.COUNT
  )

  rounds_per_evaluation: int = _field(
    1, 'evaluate every so many rounds, and after the last', 'Evaluation', **domains.COUNT
  )
  evaluate_train: bool = _field(
    False, 'also evaluate on the training examples of all clients: train_set/...', 'Evaluation'
  )
  clients_csv: bool = _field(
    False, 'write clients.csv: metrics of every client', 'Evaluation', identity=False
  )
  max_evaluation_clients: int = _field(
    1000,
    'evaluate at most so many clients one by one (a fixed draw); 0: none',
    'Evaluation',
    **domains.COUNT_OR_0,
  )
  fine_tune_epochs: int = _field(
    0,
    'also evaluate what held-out (else test) clients make of the model in so many passes over a '
    'part of their own examples, tested on the rest; 0: do not',
    'Evaluation',
    **domains.COUNT_OR_0,
  )
  fine_tune_learning_rate: float = _field(
    0.01, 'learning rate of these passes, by SGD', 'Evaluation', **domains.FROM_0
  )
  fine_tune_fraction: float = _field(
    0.5,
    "that part's share of a client's examples",
    'Evaluation',
    valid=lambda v: 0 < v < 1,
    domain='a number in (0, 1)',
  )

  rounds_per_checkpoint: int = _field(
    10,
    'save a checkpoint every so many rounds, and after the last',
    'Output',
    identity=False,
    **domains.COUNT,
  )
  checkpoints_to_keep: int = _field(
    3, 'newest checkpoints that are kept', 'Output', identity=False, **domains.COUNT
  )
  tensorboard: bool = _field(True, 'write TensorBoard logs to logdir/', 'Output', identity=False)

  runtime: str = _field(
    'auto',
    'what executes the TFF computations',
    'Machine',
    choices=lambda: runtime.NAMES,
    identity=False,
  )
  client_parallelism: int = _field(
    0,
    'clients that train at the same time; 0: one per core',
    'Machine',
    identity=False,
    **domains.COUNT_OR_0,
  )
  jit: str = _field(
    'off',
    'compile client work with XLA: off, on, or (auto) whatever a timed trial finds faster, so that '
    'the same command may end in other last digits',
    'Machine',
    choices=lambda: runtime.JIT,
    identity=False,
  )

  method_flags: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  """Hyperparameters that were set, by flag name, e.g. `{'partition_alpha': 0.1}`."""

  @property
  def batch_size(self) -> Optional[int]:
    """B as a number; None for B = infinity."""
    return None if self.client_batch_size == FULL else int(self.client_batch_size)

  @property
  def is_private(self) -> bool:
    """Whether updates are clipped and noised (with z = 0: clipped alone)."""
    return self.dp_noise_multiplier is not None or self.target_epsilon is not None

  @property
  def weighting(self) -> str:
    """`client_weighting`, or what its being empty means for the algorithm and under privacy."""
    if self.is_private:
      return 'uniform'
    defaults = algorithms.ALGORITHMS[self.algorithm].defaults
    return self.client_weighting or defaults.get('client_weighting', next(iter(CLIENT_WEIGHTINGS)))

  def hyperparameters(self, prefix: str) -> dict[str, Any]:
    """The hyperparameters set by flags `--<prefix>_<name>`, by name."""
    flags = registry_flags()
    return {
      flags[flag].name: value
      for flag, value in self.method_flags.items()
      if flags[flag].prefix == prefix
    }

  def compressor_stages(self) -> chain.Stages:
    """The stages of `compressor` with their hyperparameters.

    Raises:
      UsageError: they are not a chain.
    """
    given = {name: self.hyperparameters(name) for name in chain.names(self.compressor)}
    return chain.parse(self.compressor, given)

  def flag_values(self, identity_only: bool = False) -> dict[str, Any]:
    """Every setting by flag name: those of `Settings`, then those in `method_flags`."""
    values = {
      field.name: getattr(self, field.name)
      for field in fields()
      if field.metadata['identity'] or not identity_only
    }
    return {**values, **self.method_flags}


def fields() -> list[dataclasses.Field]:
  """The fields of `Settings` that are flags."""
  return [field for field in dataclasses.fields(Settings) if field.metadata]


@dataclasses.dataclass(frozen=True)
class RegistryFlag:
  """A flag that a registry's entry brings with it.

  Attributes:
    prefix: the entry's name (or `partition`, `client`, `server`).
    name: the hyperparameter's name.
    hyperparameter: its default, help and domain.
    group: heading in `--help`.
  """

  prefix: str
  name: str
  hyperparameter: Hyperparameter
  group: str


@dataclasses.dataclass(frozen=True)
class Registry:
  """A registry whose entries may have hyperparameters.

  Attributes:
    setting: the setting that chooses from it.
    table: its entries.
    group: heading of their flags in `--help`.
    prefix: what these flags begin with; empty for the entry's name.
    first: hyperparameters that are listed first, where there is a prefix.
  """

  setting: str
  table: Mapping[str, registry.Entry]
  group: str
  prefix: str = ''
  first: Mapping[str, Hyperparameter] = dataclasses.field(default_factory=dict)

  def hyperparameters(self) -> Mapping[str, Mapping[str, Hyperparameter]]:
    """Prefix -> hyperparameters by name."""
    if self.prefix:
      return {self.prefix: registry.shared(self.table, self.first)}
    return {name: entry.hyperparameters for name, entry in self.table.items()}


def registries() -> list[Registry]:
  """Every registry whose entries may have hyperparameters."""
  shared = optimizers.HYPERPARAMETERS
  return [
    Registry('partition', partition_lib.SCHEMES, 'Data', 'partition'),
    Registry('client_optimizer', optimizers.OPTIMIZERS, 'Clients', 'client', shared),
    Registry('server_optimizer', optimizers.OPTIMIZERS, 'Server', 'server', shared),
    Registry('algorithm', algorithms.ALGORITHMS, 'Method'),
    Registry('aggregator', aggregation.AGGREGATORS, 'Method'),
    Registry('compressor', compression.COMPRESSORS, 'Wire'),
    Registry('attack', attacks.ATTACKS, 'Attackers'),
    Registry('model', models.MODELS, 'Data'),
  ]


@dataclasses.dataclass(frozen=True)
class Chosen:
  """An entry that the settings choose.

  Attributes:
    setting: the setting that chooses it.
    name: its name.
    entry: the entry.
    prefix: what the flags of its hyperparameters begin with.
  """

  setting: str
  name: str
  entry: registry.Entry
  prefix: str


def chosen_entries(settings: Settings) -> list[Chosen]:
  """What the settings choose from the registries."""
  several = {
    'partition': [] if settings.partition == NATURAL else [settings.partition or 'iid'],
    'model': [settings.model or tasks.get_task(settings.task).default_model],
    'compressor': chain.names(settings.compressor),
  }
  return [
    Chosen(r.setting, name, registry.lookup(r.setting, name, r.table), r.prefix or name)
    for r in registries()
    for name in several.get(r.setting, [getattr(settings, r.setting)])
    if name
  ]


def registry_flags() -> dict[str, RegistryFlag]:
  """All flags `--<prefix>_<hyperparameter>` of the registries.

  Raises:
    ValueError: two flags would have the same name.
  """
  flags: dict[str, RegistryFlag] = {}
  taken = {field.name for field in fields()}
  for r in registries():
    for prefix, table in r.hyperparameters().items():
      for name, hyperparameter in table.items():
        flag = f'{prefix}_{name}'
        if flag in taken:
          raise ValueError(f'--{flag}, of {r.setting}, is the name of another flag already')
        taken.add(flag)
        flags[flag] = RegistryFlag(prefix, name, hyperparameter, r.group)
  return flags

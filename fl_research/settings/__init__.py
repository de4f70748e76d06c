"""The settings of a run: one vocabulary for flags, hparams.csv, sweeps and checks.

`Settings` is a plain dataclass, put together from sections, a file each; every field is a flag of
`experiments.train`, with its help, its group and its domain beside it. Hyperparameters of single
methods come from the registries (see the module `hyperparameters`).
Nothing here imports TensorFlow, so that `--help` and the refusal of bad flags take no time.
"""

from collections.abc import Callable, Mapping
import dataclasses
import numbers
import operator
from typing import Any, Optional, TypeVar

from fl_research import algorithms, models, registry, runtime, tasks
from fl_research.aggregation.compression import chain
from fl_research.importing import forms
from fl_research.population import scheduler
from fl_research.registry import UsageError
from fl_research.settings import hyperparameters as hyperparameters_lib
from fl_research.settings.asynchronous import Asynchronous
from fl_research.settings.attackers import Attackers
from fl_research.settings.clients import Clients, USUAL_COHORT
from fl_research.settings.data import Data, NATURAL
from fl_research.settings.evaluation import Evaluation
from fl_research.settings.federation import Federation
from fl_research.settings.hyperparameters import registries, RegistryFlag
from fl_research.settings.machine import Machine
from fl_research.settings.method import CLIENT_WEIGHTINGS, Method
from fl_research.settings.output import Output
from fl_research.settings.own_data import OwnData
from fl_research.settings.own_files import OwnFiles
from fl_research.settings.privacy import DifferentialPrivacy, SecureAggregation
from fl_research.settings.run import Run
from fl_research.settings.server import Server
from fl_research.settings.wire import Wire

LEFT_OPEN: Mapping[str, Any] = {
  'client_weighting': next(iter(CLIENT_WEIGHTINGS)),
  'server_optimizer': 'sgd',
  'server_learning_rate': 1.0,
}
"""What settings mean that are left open, where `Entry.defaults` of an algorithm or of a model say
nothing else."""

_KINDS = {bool: 'true or false', int: 'an integer', float: 'a number'}
_TRUTHS = {'true': True, 't': True, '1': True, 'false': False, 'f': False, '0': False}


# A dataclass takes the fields of its last base first.
@dataclasses.dataclass(frozen=True)
class Settings(
  Federation,
  Machine,
  Output,
  Evaluation,
  Server,
  Asynchronous,
  Clients,
  Attackers,
  DifferentialPrivacy,
  Wire,
  SecureAggregation,
  Method,
  OwnData,
  OwnFiles,
  Data,
  Run,
):
  """All settings of a run (see the module's docstring); each field's help is its documentation."""

  hyperparameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  """Hyperparameters that were set, by flag name, e.g. `{'partition_alpha': 0.1}`."""

  @property
  def weighting(self) -> str:
    """`client_weighting`, or what its being empty means for the algorithm and under privacy."""
    return 'uniform' if self.is_private else self._meaning('client_weighting')

  @property
  def model_name(self) -> str:
    """`model`, or the task's own, or the one whose flags are given; empty where the data decide."""
    task = tasks.TASKS.get(self.task)
    if self.model or (task and task.default_model):
      return self.model or (task.default_model if task else '')
    flags = registry_flags()
    prefixes = {flags[flag].prefix for flag in self.hyperparameters if flag in flags}
    named = sorted(prefixes & set(models.MODELS))
    return named[0] if len(named) == 1 else ''

  @property
  def server_step(self) -> str:
    """`server_optimizer`, or what its being left open means for the algorithm and the model."""
    return self._meaning('server_optimizer')

  @property
  def server_rate(self) -> float:
    """`server_learning_rate`, or what its being left open means for the algorithm and the model."""
    return self._meaning('server_learning_rate')

  @property
  def kernel_threads(self) -> int:
    """How many threads TensorFlow's kernels get: by the settings alone, as last digits depend."""
    clients = 1 if self.centralized else self.clients_per_round or runtime.CHUNKS
    return runtime.kernel_threads(clients)

  def _meaning(self, name: str) -> Any:
    """A setting, or what its being left open means for the algorithm and the model."""
    value = getattr(self, name)
    if value not in (None, ''):
      return value
    own = algorithms.entry(self.algorithm).defaults
    return own.get(name, self._defaults_of_model().get(name, LEFT_OPEN[name]))

  def _defaults_of_model(self) -> Mapping[str, Any]:
    """The model's defaults; none where the server's step is another than the one they are for."""
    name = self.model_name
    if not name or self.centralized or not (models.is_own(name) or name in models.MODELS):
      return {}
    defaults = models.entry(name).defaults
    step = defaults.get('server_optimizer', '')
    requires = algorithms.entry(self.algorithm).requires
    fits = all(requirement.accepts('server_optimizer', step) for requirement in requires)
    return defaults if fits and self.server_optimizer in ('', step) else {}

  def hyperparameters_of(self, prefix: str) -> dict[str, Any]:
    """The hyperparameters set by flags `--<prefix>_<name>`, by name."""
    flags = registry_flags() if self.hyperparameters else {}
    return {
      flags[flag].name: value
      for flag, value in self.hyperparameters.items()
      if flags[flag].prefix == prefix
    }

  @property
  def buffer_size(self) -> Optional[int]:
    """K, how many results the server steps with; None where that is no matter of their number."""
    if self.aggregation_trigger != 'buffer':
      return None
    entry = scheduler.TRIGGERS['buffer']
    return entry.settings('buffer', self.hyperparameters_of('buffer'))['size']

  def compressor_stages(self) -> chain.Stages:
    """The stages of `compressor` with their hyperparameters.

    Raises:
      UsageError: they are not a chain.
    """
    given = {name: self.hyperparameters_of(name) for name in chain.names(self.compressor)}
    return chain.parse(self.compressor, given)

  def flag_values(self) -> dict[str, Any]:
    """Every setting by flag name: those of `Settings`, then those in `hyperparameters`."""
    values = {field.name: getattr(self, field.name) for field in fields()}
    return {**values, **self.hyperparameters}

  def identity(self) -> dict[str, Any]:
    """The settings that can change results, by flag name.

    A rate or a cohort that is left open stands there as what it usually is, so that it is the same
    run when the flag is then given in so many words.
    """
    values = {f.name: getattr(self, f.name) for f in fields() if f.metadata['identity']}
    values['server_optimizer'] = self.server_step
    values['server_learning_rate'] = self.server_rate
    values['clients_per_round'] = self.clients_per_round or USUAL_COHORT
    return {**values, **self.hyperparameters}


_AnySettings = TypeVar('_AnySettings', bound=Settings)


def complete(
  settings: _AnySettings, say: Callable[[str], None] = lambda line: None
) -> _AnySettings:
  """The settings with the task found out from the form of `--data_file`, where none is named.

  Args:
    settings: the settings.
    say: is told what was found, where it was looked for.

  Raises:
    UsageError: the file is not there, or of no form that is read.
  """
  if settings.task or not settings.data_file:
    return settings
  form = forms.find(
    settings.data_file,
    windows=settings.window_length is not None,
    text_column=bool(settings.text_column),
  )
  say(f'--data_file={settings.data_file}: {form.words}, read by --task={form.task}')
  return dataclasses.replace(settings, task=form.task)


def fields() -> list[dataclasses.Field]:
  """The fields of `Settings` that are flags."""
  return [field for field in dataclasses.fields(Settings) if field.metadata]


def registry_flags() -> dict[str, RegistryFlag]:
  """All flags `--<prefix>_<hyperparameter>` of the registries.

  Raises:
    ValueError: two flags would have the same name.
  """
  return hyperparameters_lib.flags(field.name for field in fields())


def flag_types() -> dict[str, type]:
  """The type of every flag by name: of the settings, then of the registries' hyperparameters."""
  hyperparameters = registry_flags().items()
  return {
    **{field.name: field.metadata['type'] for field in fields()},
    **{name: type(flag.hyperparameter.default) for name, flag in hyperparameters},
  }


def renewed(values: Mapping[str, Any]) -> dict[str, Any]:
  """Values by flag, those that older runs and programs give as they are written now."""
  secure = {False: 'none', True: 'clear', 'true': 'clear', 'false': 'none'}
  of = lambda name, value: secure.get(value, value) if name == 'secure_aggregation' else value
  return {name: of(name, value) for name, value in values.items()}


def from_flags(given: Mapping[str, Any]) -> Settings:
  """The settings that flags give; the others have their defaults.

  Args:
    given: values by name, of their flag's type or as text on a command line.

  Raises:
    UsageError: a text is no value of its flag's type.
  """
  types, own, given = flag_types(), {field.name for field in fields()}, renewed(given)
  values = {name: _typed(name, given[name], kind) for name, kind in types.items() if name in given}
  method = {name: value for name, value in values.items() if name not in own}
  return Settings(**{n: v for n, v in values.items() if n in own}, hyperparameters=method)


def _typed(name: str, value: Any, kind: type) -> Any:
  """A flag's value from its text, or from what a Python program gives for it."""
  if value is None or type(value) is kind:
    return value
  try:
    if isinstance(value, str):
      return _TRUTHS[value.lower()] if kind is bool else kind(value)
    if kind is str or (kind is float and isinstance(value, numbers.Real)):
      return kind(value)
    if kind is int and not isinstance(value, bool):
      return operator.index(value)
    raise TypeError(type(value))
  except (KeyError, TypeError, ValueError) as error:
    raise UsageError(f'--{name}={value}: accepted is {_KINDS[kind]}') from error


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
  name = settings.algorithm
  algorithm = Chosen('algorithm', name, algorithms.entry(name), algorithms.prefix(name))
  several = {
    'algorithm': [],  # Its names are those of two registries, or a file's.
    'partition': [] if settings.partition == NATURAL else [settings.partition or 'iid'],
    'model': [] if models.is_own(settings.model) else [settings.model_name],
    'compressor': chain.names(settings.compressor),
    'server_optimizer': [settings.server_step],
    'staleness_weighting': [settings.staleness_weighting] if settings.is_asynchronous else [],
  }
  chosen = [
    Chosen(r.setting, name, registry.lookup(r.setting, name, r.table), r.prefix or name)
    for r in registries()
    for name in several.get(r.setting, [getattr(settings, r.setting)])
    if name
  ]
  return [algorithm, *chosen]

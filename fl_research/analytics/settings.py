"""The settings of an analysis: those of training that it reads, and its own."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from fl_research import analytics, registry, runtime
from fl_research import settings as settings_lib
from fl_research.population import cohorts
from fl_research.registry import Requirement, UsageError
from fl_research.settings import own_data, own_files, section, Settings
from fl_research.soundness import validation

_setting = section.settings_of('Analysis')
_EVERYBODY = 'all'

_OF_FILES = tuple(
  field.name
  for part in (own_data.OwnData, own_files.OwnFiles)
  for field in dataclasses.fields(part)
)

SHARED = (
  'experiment_name',
  'output_dir',
  'seed',
  'total_rounds',
  'task',
  'data_dir',
  'data_file',
  'client_column',
  'label_column',
  'sequence_length',
  'synthetic_alpha',
  'synthetic_beta',
  'partition',
  'num_clients',
  *_OF_FILES,
  'clients_per_round',
  'cohort_sampling',
  'secure_aggregation',
  'secure_sum_bound',
  'dp_noise_multiplier',
  'target_epsilon',
  'dp_clip_norm',
  'dp_delta',
  'dp_accountant',
  'rounds_per_checkpoint',
  'checkpoints_to_keep',
  'runtime',
  'client_parallelism',
  'client_chunks',
  'ray_address',
)
"""The settings of training that analyses read; the others stay at their defaults."""

_PARTITION, _COLUMN = 'partition', 'column'

_ASKED_OF_ALL = (
  Requirement(
    'runtime',
    tuple(name for name in runtime.NAMES if name != 'federation'),
    'has been made for simulations alone',
  ),
  Requirement('cohort_sampling', tuple(cohorts.SAMPLINGS), 'has no losses to choose clients by'),
)


@dataclasses.dataclass(frozen=True)
class Analysis:
  """Settings that only analyses have."""

  column: str = _setting(
    '',
    'what of the data is counted: num_examples (how many each client has), label, or a column of '
    "your own table; the analysis' usual one when empty",
  )
  analysis: str = _setting('', 'what to find out of the data', choices=lambda: analytics.ANALYSES)


@dataclasses.dataclass(frozen=True)
class AnalysisSettings(Settings, Analysis):
  """All settings of an analysis."""

  parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  """The analysis' own flags that were given, by flag name, e.g. `{'kmeans_clusters': 3}`."""

  def own_parameters(self) -> dict[str, Any]:
    """All of the analysis' own parameters by name, at their defaults where none were given.

    Raises:
      UsageError: one is outside its domain, or is another analysis'.
    """
    entry = registry.lookup('analysis', self.analysis, analytics.ANALYSES)
    prefix = f'{self.analysis}_'
    for flag, value in self.parameters.items():
      if not flag.startswith(prefix) or flag.removeprefix(prefix) not in entry.hyperparameters:
        raise UsageError(
          f'--{flag}={value}: not read by this run (--analysis={self.analysis}); leave it out'
        )
    given = {flag.removeprefix(prefix): value for flag, value in self.parameters.items()}
    return entry.settings(self.analysis, given)

  def flag_values(self) -> dict[str, Any]:
    """Every setting that an analysis reads, by flag name."""
    own = {field.name: getattr(self, field.name) for field in dataclasses.fields(Analysis)}
    if self.analysis:
      own |= {f'{self.analysis}_{name}': v for name, v in self.own_parameters().items()}
    return {**own, **{name: getattr(self, name) for name in SHARED}, **self.hyperparameters}

  def identity(self) -> dict[str, Any]:
    """The settings that can change results, by flag name."""
    without = {field.name for field in settings_lib.fields() if not field.metadata['identity']}
    values = {name: value for name, value in self.flag_values().items() if name not in without}
    return {**values, 'clients_per_round': self.clients_per_round or _EVERYBODY}


def own_fields() -> list[dataclasses.Field]:
  """The flags that only analyses have, whichever is chosen."""
  return list(dataclasses.fields(Analysis))


def own_flags() -> dict[str, registry.Hyperparameter]:
  """The flags `--<analysis>_<parameter>` of all analyses."""
  return {
    f'{name}_{key}': hyperparameter
    for name, entry in analytics.ANALYSES.items()
    for key, hyperparameter in entry.hyperparameters.items()
  }


def shared_flags() -> dict[str, registry.Hyperparameter]:
  """The flags of training's registries that analyses read: those of `--partition`."""
  flags = settings_lib.registry_flags().items()
  return {name: flag.hyperparameter for name, flag in flags if flag.prefix == _PARTITION}


def from_flags(given: Mapping[str, Any]) -> AnalysisSettings:
  """The settings that flags give; the others have their defaults, some of them the analysis' own.

  Args:
    given: values by flag name.

  Raises:
    UsageError: there is no such analysis.
  """
  name = given.get('analysis', '')
  if not name:
    raise UsageError(f'--analysis: must be given; accepted are {", ".join(analytics.ANALYSES)}')
  entry = registry.lookup('analysis', name, analytics.ANALYSES)
  of_training = {*SHARED, *shared_flags()}
  shared = {flag: value for flag, value in given.items() if flag in of_training}
  training = {flag: value for flag, value in entry.defaults.items() if flag in of_training}
  usual = settings_lib.from_flags({**training, **shared})
  values = {field.name: getattr(usual, field.name) for field in dataclasses.fields(usual)}
  given = {**entry.defaults, **given}
  own = {field.name: given[field.name] for field in own_fields() if field.name in given}
  parameters = {flag: given[flag] for flag in own_flags() if flag in given}
  return AnalysisSettings(**{**values, **own}, parameters=parameters)


def validate(settings: AnalysisSettings) -> None:
  """Checks all that can be checked before any data are read.

  Raises:
    UsageError: one line that names the first flag that is wrong, and what it accepts.
  """
  settings.own_parameters()
  entry = analytics.ANALYSES[settings.analysis]
  for requirement in (*_ASKED_OF_ALL, *entry.requires):
    requirement.check('analysis', settings.analysis, getattr(settings, requirement.setting))
  if settings.column and _COLUMN not in entry.defaults:
    readers = [name for name, each in analytics.ANALYSES.items() if _COLUMN in each.defaults]
    raise UsageError(
      f'--column={settings.column}: only read with --analysis={" or ".join(readers)}'
    )
  if entry.not_private and settings.is_private:
    asked = 'dp_noise_multiplier' if settings.target_epsilon is None else 'target_epsilon'
    raise UsageError(
      f'--{asked}={getattr(settings, asked)}: not with --analysis={settings.analysis}, which '
      f'{entry.not_private}'
    )
  if settings.is_private and settings.dp_clip_norm is None:
    raise UsageError('--dp_clip_norm: must be given with differential privacy, a number above 0')
  validation.validate(settings)

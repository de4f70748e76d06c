"""All checks of settings that need no data.

What can only be known from the data (the number of clients, the shape of an image) is checked when
they have been read, also before training.
"""

import dataclasses
import math
from typing import Any

from fl_research import aggregation, algorithms, models, registry, tasks
from fl_research import settings as settings_lib
from fl_research.population import attacks
from fl_research.registry import UsageError
from fl_research.runtime import ray_cluster
from fl_research.secure_aggregation.parameters import LEAST_CLIENTS
from fl_research.settings import Settings
from fl_research.soundness import asynchronous, chains, federation, privacy


def validate(settings: Settings, data_are_there: bool = False) -> None:
  """Checks all that can be checked before any data are read.

  Args:
    settings: what to check.
    data_are_there: whether a Python program brings the data, so that no task need name them.

  Raises:
    UsageError: one line that names the first flag that is wrong, and what it accepts.
  """
  check_fields(settings)
  at_sites = settings.runtime == 'federation'
  if not settings.task and not data_are_there and not at_sites:
    raise UsageError(
      '--task: must be given, or --data_file for your own data; --help=task lists tasks'
    )
  name = settings.experiment_name
  if not name.isprintable() or '/' in name or name in ('', '.', '..'):
    raise UsageError(f'--experiment_name={name}: must be given, and be the name of a folder')
  _check_hyperparameters(settings)
  stages = settings.compressor_stages()
  chains.check(settings.compressor, stages)
  chains.check_method(settings.compressor, stages, settings.algorithm)
  _check_requirements(settings)
  _check_attackers(settings)
  asynchronous.check(settings)
  federation.check(settings)
  privacy.check(settings)
  _check_secure_aggregation(settings)
  _check_together(settings)


def check_fields(settings: Settings) -> None:
  """Checks every setting by itself.

  Raises:
    UsageError: one is not in its domain.
  """
  for field in settings_lib.fields():
    value = getattr(settings, field.name)
    if value is not field.default:  # Which is in its domain.
      _check_field(field, value)


def _check_field(field: dataclasses.Field, value: Any) -> None:
  metadata = field.metadata
  besides = metadata['besides'] or (lambda value: False)
  if metadata['choices'] and value != field.default and not besides(value):
    registry.lookup(field.name, value, dict.fromkeys(metadata['choices']()))
  if value is not None and metadata['valid'] and not metadata['valid'](value):
    raise UsageError(f'--{field.name}={value}: accepted is {metadata["domain"]}')
  if isinstance(value, float) and not math.isfinite(value):
    raise UsageError(f'--{field.name}={value}: accepted is a finite number')


def _check_hyperparameters(settings: Settings) -> None:
  """Every hyperparameter that was set is in its domain, and is read by something chosen."""
  if not settings.hyperparameters:
    return
  flags, entries = settings_lib.registry_flags(), settings_lib.chosen_entries(settings)
  chosen = {choice.prefix: choice.entry.hyperparameters for choice in entries}
  for flag, value in settings.hyperparameters.items():
    entry = registry.lookup('flag', flag, flags) if flag not in flags else flags[flag]
    if entry.name not in chosen.get(entry.prefix, ()):
      raise UsageError(
        f'--{flag}={value}: not read by this run '
        f'({_choice_behind(settings, entry.prefix)}); leave it out'
      )
    entry.hyperparameter.check(flag, value)


def _choice_behind(settings: Settings, prefix: str) -> str:
  """The flag whose choice decides whether hyperparameters with this prefix are read."""
  tables = settings_lib.registries()
  flag = next(r.setting for r in tables if prefix in r.hyperparameters())
  if flag == 'staleness_weighting' and not settings.is_asynchronous:
    flag = 'aggregation_trigger'
  default = 'natural or iid' if flag == 'partition' else 'default'
  return f'--{flag}={getattr(settings, flag) or default}'


def _check_requirements(settings: Settings) -> None:
  """What the chosen entries of the registries ask of other settings."""
  for choice in settings_lib.chosen_entries(settings):
    for requirement in choice.entry.requires:
      given = getattr(settings, requirement.setting)
      if requirement.setting in settings_lib.LEFT_OPEN and given in (None, ''):
        continue  # it then means what fits
      requirement.check(choice.setting, choice.name, given)


def _check_attackers(settings: Settings) -> None:
  """Attackers, and defences against them, are part of a federation."""
  if settings.attacker_fraction and not settings.attack:
    raise UsageError(
      f'--attacker_fraction={settings.attacker_fraction}: needs --attack; accepted are '
      f'{", ".join(attacks.ATTACKS)}'
    )
  alone = '--centralized' if settings.centralized else '--local_only'
  if settings.centralized or settings.local_only:
    if settings.attack:
      raise UsageError(f'--attack={settings.attack}: not with {alone}, which has no federation')
    if settings.aggregator != 'mean':
      raise UsageError(
        f'--aggregator={settings.aggregator}: not with {alone}, which has nothing to combine'
      )
    if settings.compressor:
      raise UsageError(f'--compressor={settings.compressor}: not with {alone}, which sends nothing')


def _check_secure_aggregation(settings: Settings) -> None:
  """Secure sums show the server no single client's message, which not everything can do without."""
  default = Settings().secure_sum_bound
  read = settings.is_secure and (settings.is_local or not settings.is_private)
  if settings.secure_sum_bound != default and not read:
    raise UsageError(
      f'--secure_sum_bound={settings.secure_sum_bound}: only read with --secure_aggregation and '
      'without central differential privacy, whose clipping bounds the terms'
    )
  if not settings.is_secure:
    return
  if settings.centralized or settings.local_only:
    alone = 'centralized' if settings.centralized else 'local_only'
    raise UsageError(
      f'--secure_aggregation={settings.secure_aggregation}: not with --{alone}, which sends nothing'
    )
  if not aggregation.AGGREGATORS[settings.aggregator].is_sum:
    sums = [name for name, entry in aggregation.AGGREGATORS.items() if entry.is_sum]
    raise UsageError(
      f'--aggregator={settings.aggregator}: not with --secure_aggregation; it looks at single '
      f'updates, and secure sums show none; accepted is {" or ".join(sums)}'
    )
  if settings.compressor:
    raise UsageError(
      f'--compressor={settings.compressor}: not with --secure_aggregation; the server decodes '
      "each client's message by itself, and secure sums show it none"
    )
  if settings.by_protocol:
    _check_protocol(settings)


def _check_protocol(settings: Settings) -> None:
  """The protocol needs a runtime that hands it each client's numbers, and three clients."""
  if settings.runtime == 'native':
    raise UsageError(
      "--secure_aggregation=protocol: not with --runtime=native, TFF's own, which takes secure "
      'sums in the clear; accepted is clear'
    )
  for flag in ('clients_per_round', 'buffer_size', 'num_clients'):
    clients = getattr(settings, flag)
    if clients is not None and 0 < clients < LEAST_CLIENTS:
      raise UsageError(
        f'--{flag}={clients}: with --secure_aggregation=protocol a sum needs '
        f"{LEAST_CLIENTS} clients at least, as of two each would know the other's part"
      )


def _check_machine(settings: Settings) -> None:
  """What a Ray cluster is for, and what it cannot do."""
  if settings.runtime != 'ray':
    if settings.ray_address:
      raise UsageError(f'--ray_address={settings.ray_address}: only read with --runtime=ray')
    return
  if settings.jit != 'off':
    raise UsageError(
      f'--jit={settings.jit}: not with --runtime=ray, whose actors run plain kernels; leave it out'
    )
  ray_cluster.check_installed()


def _check_server_examples(settings: Settings) -> None:
  """Whether the server has examples of its own exactly where something looks at them."""
  tables = {'algorithm': algorithms.ALGORITHMS, 'aggregator': aggregation.AGGREGATORS}
  readers, reading = [], ''
  for flag, table in tables.items():
    readers += [f'--{flag}={name}' for name, entry in table.items() if entry.needs_server_examples]
  for choice in settings_lib.chosen_entries(settings):
    if choice.setting in tables and choice.entry.needs_server_examples:
      reading = reading or f'--{choice.setting}={choice.name}'
  if reading and not settings.server_examples:
    raise UsageError(f'--server_examples: must be given for {reading}, 100 for example')
  if settings.server_examples and not reading:
    raise UsageError(
      f'--server_examples={settings.server_examples}: only read with {", ".join(readers)}'
    )


def _check_together(settings: Settings) -> None:
  """Flags that only make sense together, or never."""
  if settings.centralized and settings.local_only:
    raise UsageError('--centralized and --local_only: at most one of them')
  if settings.local_only and settings.algorithm not in ('fedavg', 'local'):
    raise UsageError(f'--local_only: not with --algorithm={settings.algorithm}')
  if settings.target_value is not None and not settings.target_metric:
    raise UsageError('--target_value: needs --target_metric, a column of metrics.csv')
  if settings.patience and not settings.target_metric:
    raise UsageError(
      f'--patience={settings.patience}: needs --target_metric, a column of metrics.csv'
    )
  if settings.initializer and models.is_own(settings.model):
    raise UsageError(
      f'--initializer={settings.initializer}: not with a model of your own, which says how its '
      'weights begin; leave it out'
    )
  _check_adapters(settings)
  _check_server_examples(settings)
  combined = settings.buffer_size or settings.clients_per_round
  if combined is not None:
    own = settings.hyperparameters_of(settings.aggregator)
    aggregation.check_cohort(settings.aggregator, own, combined)
  _check_availability(settings)
  _check_devices(settings)
  _check_machine(settings)
  if settings.runtime != 'federation':
    check_own_data(settings)


def _check_adapters(settings: Settings) -> None:
  """What is said of low-rank adapters, and whether there are any."""
  given = {
    'lora_alpha': settings.lora_alpha is not None,
    'lora_layers': bool(settings.lora_layers),
    'lora_freeze_a': settings.lora_freeze_a,
  }
  for flag, has in given.items():
    if has and not settings.lora_rank:
      raise UsageError(
        f'--{flag}={getattr(settings, flag)}: needs --lora_rank, an integer of at least 1'
      )
  if settings.lora_rank and settings.freeze:
    raise UsageError(
      f'--freeze={settings.freeze}: not with --lora_rank, with which all layers stay as they '
      'begin; --lora_layers says which have adapters'
    )


def _check_availability(settings: Settings) -> None:
  """Who can be drawn when, and whether anybody is drawn at all."""
  by_rounds = settings.availability == 'rounds'
  if by_rounds and not settings.availability_trace:
    raise UsageError('--availability=rounds: needs --availability_trace, a CSV file')
  if settings.availability_trace and not by_rounds:
    raise UsageError('--availability_trace: only read with --availability=rounds')
  if settings.availability != 'always' and (settings.centralized or settings.local_only):
    alone = 'centralized' if settings.centralized else 'local_only'
    raise UsageError(
      f'--availability={settings.availability}: not with --{alone}, which draws nobody'
    )


def _check_devices(settings: Settings) -> None:
  """Measured connections leave nothing to say about their speed."""
  default = Settings()
  for flag in ('device_download_rate', 'device_upload_rate', 'device_spread'):
    value = getattr(settings, flag)
    if settings.devices == 'trace' and value != getattr(default, flag):
      raise UsageError(f'--{flag}={value}: only read with --devices=model')


def check_own_data(settings: Settings) -> None:
  """Checks the settings that say where data of one's own are and how they are read.

  Raises:
    UsageError: one must be given for the task, or is not read by it.
  """
  table = tasks.TASKS
  entry = tasks.get_task(settings.task)
  for name in dict.fromkeys(name for task in table.values() for name in task.reads):
    given = getattr(settings, name)
    if name in entry.needs and not given:
      raise UsageError(f'--{name}: must be given for --task={settings.task}')
    if given and name not in entry.reads:
      readers = [task for task, each in table.items() if name in each.reads]
      raise UsageError(f'--{name}={given}: only read with --task={" or ".join(readers)}')

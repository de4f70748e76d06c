"""Refuses what a federation does not read, and what needs data that stay at their sites."""

import dataclasses
from typing import Any

from fl_research.registry import UsageError
from fl_research.settings import federation, Settings

_NOT_THERE = {
  'partition': 'clients and their examples are those of the sites',
  'num_clients': 'clients and their examples are those of the sites',
  'own_test_fraction': 'each site says which of its examples are for testing',
  'held_out_clients_fraction': 'each site says which of its clients train',
  'label_namings': 'examples are as their sites have them',
  'rotations': 'examples are as their sites have them',
  'renderings': 'examples are as their sites have them',
  'server_examples': 'the engine has no examples',
  'attack': 'it is for simulated clients',
  'evaluate_train': 'training examples are at the sites',
  'max_evaluation_clients': 'sites choose which of their clients they test',
  'max_evaluation_models': 'no machine has a test set for all models',
  'evaluate_auc': 'those of more than two classes are evaluated in simulations only',
  'fine_tune_epochs': 'fine-tuning is evaluated in simulations only',
  'class_weighting': 'how often a class occurs is known at the sites',
  'centralized': 'there is no place where all data are',
  'local_only': 'nothing would cross, and sites need no engine for it',
  'devices': 'its machines are real ones',
  'availability': 'its machines are real ones',
  'data_file': 'each site names its own data',
}
"""Settings that must be left as they are, and why."""


def check(settings: Settings) -> None:
  """Checks the flags of a federation against all others.

  Raises:
    UsageError: one line that names the flag, and why.
  """
  if settings.runtime != 'federation':
    _check_unread(settings)
    return
  if not settings.federation:
    raise UsageError(
      '--federation: must be given with --runtime=federation: direct:NAME=ADDRESS,… or '
      'flower:ADDRESS'
    )
  defaults = Settings()
  for name, reason in _NOT_THERE.items():
    value = getattr(settings, name)
    if value != getattr(defaults, name):
      raise UsageError(f'--{name}={_word(value)}: not with --runtime=federation; {reason}')
  if settings.is_asynchronous:
    raise UsageError(
      f'--aggregation_trigger={settings.aggregation_trigger}: not with --runtime=federation, whose '
      'rounds are synchronous; accepted is cohort'
    )
  if settings.jit != 'off':
    raise UsageError(f'--jit={settings.jit}: not with --runtime=federation; leave it out')
  if settings.is_fresh:
    raise UsageError(
      f'--dp_noise={settings.dp_noise}: not with --runtime=federation and --dp_place=central; '
      'accepted is simulation, or --dp_place=local'
    )
  if settings.is_local:
    _check_local(settings)
  if settings.site_deadline_seconds is not None and not settings.min_sites:
    raise UsageError(
      f'--site_deadline_seconds={settings.site_deadline_seconds:g}: needs --min_sites, how many '
      'sites are enough then'
    )


def _check_local(settings: Settings) -> None:
  """What noise of the sites' own needs."""
  if settings.has_exact_noise and settings.compressor:
    raise UsageError(
      f'--compressor={settings.compressor}: not with --runtime=federation, --dp_place=local and '
      '--dp_noise=cryptographic, where sites add noise to what clients are about to send; leave it '
      'out'
    )
  if settings.withholds and settings.site_metrics == 'release':
    raise UsageError(
      '--site_metrics=release: not with --dp_place=local and --private_metrics=withhold, which are '
      'to keep from the server what epsilon does not cover; accepted is withhold'
    )


def _check_unread(settings: Settings) -> None:
  for field in dataclasses.fields(federation.Federation):
    value = getattr(settings, field.name)
    if value != field.default:
      raise UsageError(f'--{field.name}={value}: only read with --runtime=federation')


def _word(value: Any) -> str:
  return str(value).lower() if isinstance(value, bool) else str(value)

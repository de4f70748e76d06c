"""Refuses flags with which a run could not keep, or could not state, its privacy guarantee."""

import dataclasses

from fl_research import algorithms
from fl_research.aggregation.privacy import discrete_gaussian
from fl_research.population import choosers
from fl_research.registry import UsageError
from fl_research.settings import Settings

_ADAPTIVE_ONLY = (
  'dp_target_quantile',
  'dp_clip_learning_rate',
  'dp_initial_clip',
  'dp_count_noise',
)


def check(settings: Settings) -> None:
  """Checks the flags of differential privacy against each other and against all others.

  Raises:
    UsageError: one line that names the flag, and why.
  """
  if not settings.is_private:
    for field in dataclasses.fields(settings):
      value = getattr(settings, field.name)
      if field.name.startswith(('dp_', 'private_')) and value != field.default:
        raise UsageError(
          f'--{field.name}={value}: only read with --dp_noise_multiplier or --target_epsilon'
        )
    return
  if settings.target_epsilon is not None and settings.dp_noise_multiplier is not None:
    raise UsageError(
      f'--target_epsilon={settings.target_epsilon}: not with --dp_noise_multiplier, which it '
      'solves for'
    )
  if settings.class_weighting != 'none':
    raise UsageError(
      f'--class_weighting={settings.class_weighting}: not with {_asked_by(settings)}, as the '
      "counts of the clients' classes that it needs are exact, which epsilon does not cover; "
      'accepted is none'
    )
  _check_clipping(settings)
  _check_noise(settings)
  _check_withheld(settings)
  _check_method(settings)
  _check_population(settings)


def _asked_by(settings: Settings) -> str:
  """The flag that asks for differential privacy, as it was given."""
  name = 'dp_noise_multiplier' if settings.target_epsilon is None else 'target_epsilon'
  return f'--{name}={getattr(settings, name)}'


def _check_clipping(settings: Settings) -> None:
  adaptive = settings.dp_clipping == 'adaptive'
  if adaptive and settings.is_local:
    raise UsageError(
      '--dp_clipping=adaptive: not with --dp_place=local, as the count of the clients below the '
      'norm, by which it moves, is not noised at the clients; accepted is fixed'
    )
  if adaptive and settings.dp_clip_norm is not None:
    raise UsageError(
      f'--dp_clip_norm={settings.dp_clip_norm}: not with --dp_clipping=adaptive, which starts '
      'from --dp_initial_clip'
    )
  if not adaptive and settings.dp_clip_norm is None:
    raise UsageError(
      '--dp_clip_norm: must be given, a number above 0, or be found by --dp_clipping=adaptive'
    )
  for field in dataclasses.fields(settings):
    value = getattr(settings, field.name)
    if not adaptive and field.name in _ADAPTIVE_ONLY and value != field.default:
      raise UsageError(f'--{field.name}={value}: only read with --dp_clipping=adaptive')
  if adaptive and settings.dp_noise_multiplier:
    check_count_noise(settings, settings.dp_noise_multiplier)


def _check_noise(settings: Settings) -> None:
  """What integers of 64 bits, and the accountant, can do of exact noise."""
  if not settings.has_exact_noise:
    return
  if settings.is_local and settings.runtime != 'federation':
    raise UsageError(
      '--dp_noise=cryptographic: with --dp_place=local only with --runtime=federation, where sites '
      'draw noise that nobody else knows; simulated clients have no machine of their own, so '
      'accepted is simulation'
    )
  exact = '--dp_noise=cryptographic'
  multiplier, count_noise = settings.dp_noise_multiplier, settings.dp_count_noise
  if multiplier is not None and multiplier < discrete_gaussian.SMALLEST_MULTIPLIER:
    raise UsageError(
      f'--dp_noise_multiplier={multiplier:g}: with {exact} accepted is a number from '
      f'{discrete_gaussian.SMALLEST_MULTIPLIER:g} on'
    )
  if count_noise is not None and count_noise > discrete_gaussian.LARGEST_COUNT_NOISE:
    raise UsageError(
      f'--dp_count_noise={count_noise:g}: with {exact} accepted is a number up to '
      f'{discrete_gaussian.LARGEST_COUNT_NOISE:g}'
    )
  if settings.dp_accountant != 'rdp':
    raise UsageError(
      f'--dp_accountant={settings.dp_accountant}: not with {exact}, as privacy loss distributions '
      'are known for continuous noise only; accepted is rdp'
    )


def _check_withheld(settings: Settings) -> None:
  """Nobody asks for what is withheld."""
  if not settings.withholds:
    return
  for flag in ('clients_csv', 'evaluate_train', 'fine_tune_epochs', 'held_out_clients_fraction'):
    if value := getattr(settings, flag):
      raise UsageError(
        f'--{flag}={str(value).lower()}: not with --private_metrics=withhold, as it reports on '
        "clients' data, which epsilon does not cover; leave it out"
      )


def count_noise(settings: Settings, noise_multiplier: float, cohort_size: float) -> float:
  """σ_b: as given, else a twentieth of the cohort, as in Andrew et al. 2021; 0 without noise.

  In small cohorts that would spend the budget on the count, so by itself it is not below z, with
  which the noise on the updates is no more than 15 % larger than with a fixed norm.
  """
  if settings.dp_count_noise is not None:
    return settings.dp_count_noise
  return max(cohort_size / 20, noise_multiplier) if noise_multiplier else 0.0


def check_count_noise(settings: Settings, noise_multiplier: float) -> None:
  """Raises `UsageError` when the count alone would use more than the whole privacy budget."""
  sigma = settings.dp_count_noise
  if sigma is not None and noise_multiplier > 0 and 2 * sigma <= noise_multiplier:
    raise UsageError(
      f'--dp_count_noise={sigma:g}: with a noise multiplier of {noise_multiplier:g} accepted is a '
      f'number above {noise_multiplier / 2:g}'
    )


def _check_method(settings: Settings) -> None:
  asked = _asked_by(settings)
  for flag in ('centralized', 'local_only'):
    if getattr(settings, flag):
      raise UsageError(f'{asked}: not with --{flag}, which has no updates to hide')
  reason = algorithms.entry(settings.algorithm).not_private
  if reason:
    raise UsageError(f'{asked}: not with --algorithm={settings.algorithm}, which {reason}')
  if settings.aggregator != 'mean' and not settings.is_local:
    raise UsageError(
      f'{asked}: not with --aggregator={settings.aggregator}; noise is scaled to what one client '
      'can change in a mean of clipped updates, so accepted is mean, or --dp_place=local'
    )
  if settings.client_weighting not in ('', 'uniform'):
    reason = 'under which a client could weigh more than the noise hides'
    if settings.is_local:
      reason = 'which every client would send as it is, and noise would not cover'
    raise UsageError(
      f'{asked}: not with --client_weighting={settings.client_weighting}, {reason}; accepted is '
      'uniform'
    )


def _check_population(settings: Settings) -> None:
  asked = _asked_by(settings)
  reason = choosers.ALL[settings.cohort_sampling].not_private
  if reason:
    raise UsageError(
      f'{asked}: not with --cohort_sampling={settings.cohort_sampling}, which {reason}; accepted '
      'are poisson and uniform'
    )
  if settings.availability == 'trace':
    raise UsageError(
      f'{asked}: not with --availability=trace, by which the time that one client takes decides '
      'who is drawn next, more than the accountant allows for; accepted are always and rounds'
    )
  if settings.is_local:
    # Each client answers for itself: whose updates are used, and how, is no loss of its own.
    return
  if settings.availability == 'rounds' and settings.cohort_sampling != 'uniform':
    raise UsageError(
      f'{asked}: not with --cohort_sampling={settings.cohort_sampling} and --availability=rounds, '
      'for which no privacy guarantee is known; accepted is uniform'
    )
  for flag, nothing in (('over_selection', 1.0), ('straggler_fraction', 0.0)):
    value = getattr(settings, flag)
    if value != nothing:
      raise UsageError(
        f'{asked}: not with --{flag}={value}, by which one client decides how others count, more '
        'than the accountant allows for'
      )

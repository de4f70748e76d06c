"""Refuses what asynchronous training does not read, and what would not be sound with it."""

import dataclasses

from fl_research.registry import UsageError
from fl_research.settings import asynchronous, Settings

_MIXABLE = ('fedavg', 'fedprox')
"""Methods whose update is the way from the model that a client was given to its own."""


def check(settings: Settings) -> None:
  """Checks the flags of asynchronous training against all others.

  What single algorithms and ways of drawing clients ask for is in their registries.

  Raises:
    UsageError: one line that names the flag, and why.
  """
  if not settings.is_asynchronous:
    _check_unread(settings)
    return
  if settings.is_private:
    raise UsageError(
      f'--aggregation_trigger={settings.aggregation_trigger}: not with differential privacy; who '
      'is in a step depends on how fast clients are, and on how many examples they have, for which '
      'no epsilon is proved here; accepted is cohort'
    )
  if settings.stale_update == 'model':
    _check_mixing(settings)
  least = settings.hyperparameters.get('deadline_least_epochs', 0.0)
  if least > settings.client_epochs_per_round:
    raise UsageError(
      f'--deadline_least_epochs={least:g}: is more than --client_epochs_per_round='
      f'{settings.client_epochs_per_round:g}, which is the most that a client trains'
    )


def _check_unread(settings: Settings) -> None:
  for field in dataclasses.fields(asynchronous.Asynchronous):
    value = getattr(settings, field.name)
    if value != field.default:
      raise UsageError(
        f'--{field.name}={value}: only read with --aggregation_trigger=buffer or deadline'
      )


def _check_mixing(settings: Settings) -> None:
  """Models are mixed where they are what clients send, and the server's rate is their share."""
  flag = '--stale_update=model'
  if settings.algorithm not in _MIXABLE:
    raise UsageError(
      f'{flag}: not with --algorithm={settings.algorithm}, whose clients do not send a model of '
      f'their own; accepted are {" and ".join(_MIXABLE)}'
    )
  if settings.server_step != 'sgd':
    raise UsageError(
      f'{flag}: not with --server_optimizer={settings.server_step}, as models are mixed by a plain '
      'step, whose rate is alpha; accepted is sgd'
    )
  if settings.server_rate > 1:
    raise UsageError(
      f'{flag}: not with --server_learning_rate={settings.server_rate:g}, as that is the share of '
      'the clients in the mixture; accepted is a number in [0, 1]'
    )
  if settings.is_secure:
    raise UsageError(
      f'{flag}: not with --secure_aggregation, as the server would have to know which model each '
      'client was given before it adds their models up; accepted is delta'
    )

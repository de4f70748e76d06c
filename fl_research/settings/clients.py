"""Who takes part in a round, on what devices, and what the clients do."""

import dataclasses
from typing import Optional

from fl_research import domains, optimizers
from fl_research.optimizers import schedules
from fl_research.population import choosers
from fl_research.settings import section

_setting = section.settings_of('Clients')

USUAL_COHORT = 10
"""Size of a cohort when `--clients_per_round` is not given and there are so many clients."""

FULL = 'full'
"""`--client_batch_size=full`: B = infinity, all of a client's examples in one batch."""

AVAILABILITIES = ('always', 'rounds', 'trace')
DEVICES = ('model', 'trace')

# A batch is padded to its full size, so a mistyped one would fill the memory.
_LARGEST_BATCH = 1_000_000


def _is_batch_size(value: str) -> bool:
  number = int(value) if value.isascii() and value.isdigit() else 0
  return value == FULL or 1 <= number <= _LARGEST_BATCH


@dataclasses.dataclass(frozen=True)
class Clients:
  """Settings of the clients."""

  clients_per_round: Optional[int] = _setting(
    None,
    f'size of the cohort (default {USUAL_COHORT}, or all clients where there are fewer)',
    optional=int,
    **domains.COUNT,
  )
  cohort_sampling: str = _setting(
    'uniform', 'how the cohort is drawn', choices=lambda: choosers.ALL
  )
  availability: str = _setting(
    'always',
    'when clients can be drawn: always, in the rounds of --availability_trace, or while real '
    'phones are ready by the virtual clock (trace)',
    choices=lambda: AVAILABILITIES,
  )
  availability_trace: str = _setting(
    '', 'CSV with client_id, first_round, last_round: who can be drawn when'
  )
  straggler_fraction: float = _setting(
    0.0,
    'share of the cohort that manages only part of its epochs',
    **domains.SHARE,
  )
  stragglers: str = _setting(
    'keep',
    'whether their partial work counts',
    choices=lambda: ('keep', 'drop'),
  )
  dropout_probability: float = _setting(
    0.0, 'probability that a client fails before it sends its update', **domains.BELOW_1
  )
  over_selection: float = _setting(
    1.0,
    'select so many times clients_per_round, and go on with the first that report',
    valid=lambda v: 1 <= v <= 10,
    domain='a number from 1 to 10',
  )
  devices: str = _setting(
    'model',
    'virtual clock: devices by the flags below, or measured phones and connections (trace)',
    choices=lambda: DEVICES,
  )
  device_seconds_per_example: float = _setting(
    0.001, 'virtual clock: median time of one example in training', **domains.FROM_0
  )
  device_download_rate: float = _setting(
    750_000.0, 'virtual clock: median bytes per second to a client', **domains.POSITIVE
  )
  device_upload_rate: float = _setting(
    250_000.0, 'virtual clock: median bytes per second from a client', **domains.POSITIVE
  )
  device_spread: float = _setting(
    0.0,
    'virtual clock: sigma of the log-normal spread between devices',
    **domains.FROM_0,
  )
  client_epochs_per_round: float = _setting(
    1.0, "E: passes over the client's examples per round", **domains.POSITIVE
  )
  client_batch_size: str = _setting(
    '20',
    'B: examples per step, or "full" for all of them',
    valid=_is_batch_size,
    domain='an integer from 1 to 1000000, or full',
  )
  max_examples_per_client: int = _setting(
    0, 'use at most so many examples of a client per round; 0: all', **domains.COUNT_OR_0
  )
  client_optimizer: str = _setting(
    'sgd', "optimiser of the clients' steps", choices=lambda: optimizers.OPTIMIZERS
  )
  client_learning_rate: float = _setting(0.1, 'its learning rate', **domains.FROM_0)
  client_lr_schedule: str = _setting(
    'constant',
    'how that rate changes with the rounds',
    choices=lambda: schedules.SCHEDULES,
  )
  client_lr_decay: float = _setting(0.99, 'decay of the exponential schedule', **domains.POSITIVE)
  client_lr_decay_rounds: int = _setting(1, 'period of the schedule in rounds', **domains.COUNT)
  client_gradient_clip_norm: float = _setting(
    0.0, 'clip each gradient to this global norm; 0: do not', **domains.FROM_0
  )
  client_weight_decay: float = _setting(
    0.0, 'add this times the weights to each gradient', **domains.FROM_0
  )

  @property
  def batch_size(self) -> Optional[int]:
    """B as a number; None for B = infinity."""
    return None if self.client_batch_size == FULL else int(self.client_batch_size)

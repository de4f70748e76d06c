"""The server's step."""

import dataclasses
from typing import Optional

from fl_research import domains, optimizers
from fl_research.optimizers import schedules
from fl_research.settings import section

_setting = section.settings_of('Server')


@dataclasses.dataclass(frozen=True)
class Server:
  """Settings of the server."""

  server_optimizer: str = _setting(
    '',
    "optimiser of the server's step (default sgd; adagrad for the factorization model)",
    choices=lambda: optimizers.OPTIMIZERS,
  )
  server_learning_rate: Optional[float] = _setting(
    None,
    'its learning rate (default 1; for some algorithms another, see docs/methods.md; 0.3 for the '
    'factorization model)',
    optional=float,
    **domains.FROM_0,
  )
  server_lr_schedule: str = _setting(
    'constant',
    'how that rate changes with the rounds',
    choices=lambda: schedules.SCHEDULES,
  )
  server_lr_decay: float = _setting(0.99, 'decay of the exponential schedule', **domains.POSITIVE)
  server_lr_decay_rounds: int = _setting(1, 'period of the schedule in rounds', **domains.COUNT)

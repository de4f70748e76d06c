"""When the server steps: with whole cohorts, or with whatever has arrived."""

import dataclasses
from typing import Optional

from fl_research import domains
from fl_research.population import scheduler, staleness
from fl_research.settings import section

_setting = section.settings_of('Asynchronous')

STALE_UPDATES = ('delta', 'model')
"""What of a client is combined: how it changed its model, or that model, mixed into the present."""


@dataclasses.dataclass(frozen=True)
class Asynchronous:
  """Settings of asynchronous training."""

  aggregation_trigger: str = _setting(
    scheduler.COHORT,
    'when the server steps; but for cohort, clients_per_round is how many clients are at work at a '
    'time, and total_rounds counts steps of the server',
    choices=lambda: scheduler.TRIGGERS,
  )
  staleness_weighting: str = _setting(
    next(iter(staleness.WEIGHTINGS)),
    "what an update is multiplied by, by the server's steps since its client was given the model",
    choices=lambda: staleness.WEIGHTINGS,
  )
  stale_update: str = _setting(
    STALE_UPDATES[0],
    "what is combined: a client's change of the model it was given (FedBuff), or what leads from "
    'the present model to its own, so that models are mixed (FedAsync)',
    choices=lambda: STALE_UPDATES,
  )
  max_staleness: Optional[int] = _setting(
    None,
    'throw away results that are staler, in steps of the server; any are used when left out',
    optional=int,
    **domains.COUNT_OR_0,
  )

  @property
  def is_asynchronous(self) -> bool:
    """Whether results arrive by themselves, and not with their cohort."""
    return self.aggregation_trigger != scheduler.COHORT

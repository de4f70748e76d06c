"""Clients that lie."""

import dataclasses

from fl_research import domains
from fl_research.population import attacks
from fl_research.settings import section

_setting = section.settings_of('Attackers')


@dataclasses.dataclass(frozen=True)
class Attackers:
  """Settings of attackers."""

  attack: str = _setting(
    '', 'what attackers do; empty: nobody attacks', choices=lambda: attacks.ATTACKS
  )
  attacker_fraction: float = _setting(
    0.0,
    'share of the clients that attack, the same ones in every round',
    **domains.BELOW_1,
  )

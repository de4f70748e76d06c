"""Sites that keep their data: how they are reached, and how long they are waited for."""

import dataclasses
from typing import Optional

from fl_research import domains
from fl_research.settings import section

_setting = section.settings_of('Federation')


@dataclasses.dataclass(frozen=True)
class Federation:
  """Settings of a run on machines that keep their data."""

  federation: str = _setting(
    '',
    'with --runtime=federation, the way to the sites: direct:NAME=ADDRESS,NAME=ADDRESS for sites '
    'on this machine, or flower:ADDRESS for the socket on which the ServerApp of Flower is awaited '
    '(flower:ADDRESS,NAME,NAME: and these sites)',
    identity=False,
  )
  min_sites: int = _setting(
    0,
    'with --runtime=federation, how many of the sites asked in a round must answer; 0: all',
    identity=False,
    **domains.COUNT_OR_0,
  )
  site_deadline_seconds: Optional[float] = _setting(
    None,
    'with --runtime=federation and --min_sites, after how many seconds a round goes on without the '
    'sites that have not answered; left out, they are awaited until they are known to be gone',
    optional=float,
    identity=False,
    **domains.POSITIVE,
  )
  page_port: Optional[int] = _setting(
    None,
    'with --runtime=federation, the port of 127.0.0.1 on which a page shows sites, rounds, curves '
    'and refusals; 0: any that is free; no page when left out',
    optional=int,
    identity=False,
    valid=lambda v: 0 <= v < 65536,
    domain='an integer from 0 to 65535',
  )
  site_metrics: str = _setting(
    'release',
    'with --runtime=federation, whether sites send the sums of loss and metrics of their training; '
    'withheld, the columns train/… are empty',
    choices=lambda: ('release', 'withhold'),
    identity=False,
  )
  experimenter_name: str = _setting(
    '',
    'with --runtime=federation, as whom sites are asked; the name of the account when left out',
    identity=False,
  )
  experimenter_key: str = _setting(
    '',
    'with --runtime=federation, a file with the Ed25519 key that signs what sites are asked for; '
    'made where there is none',
    identity=False,
  )

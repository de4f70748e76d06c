"""Which run it is, how long it lasts, and what it is compared with."""

import dataclasses
from typing import Optional

from fl_research import domains
from fl_research.settings import section

_setting = section.settings_of('Run')


@dataclasses.dataclass(frozen=True)
class Run:
  """Settings of the run as a whole."""

  experiment_name: str = _setting('', 'name of the run, and of its folder')
  output_dir: str = _setting('results', 'folder of all runs', identity=False)
  seed: int = _setting(0, 'fixes every random draw of the run', **domains.COUNT_OR_0)
  total_rounds: int = _setting(100, 'rounds of training', **domains.COUNT)
  target_metric: str = _setting(
    '', 'column of metrics.csv that ends the run or that --patience watches'
  )
  target_value: Optional[float] = _setting(
    None, 'end once --target_metric reaches this', optional=float
  )
  patience: int = _setting(
    0,
    'end after so many evaluations without a better --target_metric; 0: never',
    **domains.COUNT_OR_0,
  )
  centralized: bool = _setting(False, 'reference without federation: one client holds all the data')
  local_only: bool = _setting(False, 'reference without federation: each client alone')

"""What a run writes beside its tables."""

import dataclasses

from fl_research import domains
from fl_research.settings import section

_setting = section.settings_of('Output')


@dataclasses.dataclass(frozen=True)
class Output:
  """Settings of the output."""

  rounds_per_checkpoint: int = _setting(
    10,
    'save a checkpoint every so many rounds, and after the last',
    identity=False,
    **domains.COUNT,
  )
  checkpoints_to_keep: int = _setting(
    3, 'newest checkpoints that are kept', identity=False, **domains.COUNT
  )
  tensorboard: bool = _setting(True, 'write TensorBoard logs to logdir/', identity=False)

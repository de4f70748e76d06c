"""What computes a run; nothing here changes its results, but for the last digits with `jit`."""

import dataclasses

from fl_research import domains, runtime
from fl_research.settings import section

_setting = section.settings_of('Machine')


@dataclasses.dataclass(frozen=True)
class Machine:
  """Settings of the machine."""

  runtime: str = _setting(
    'auto',
    'what executes the TFF computations',
    choices=lambda: runtime.NAMES,
    identity=False,
  )
  client_parallelism: int = _setting(
    0,
    'clients that train at the same time; 0: one per core',
    identity=False,
    **domains.COUNT_OR_0,
  )
  jit: str = _setting(
    'off',
    'compile client work with XLA: off, on, or (auto) whatever a timed trial finds faster, so that '
    'the same command may end in other last digits',
    choices=lambda: runtime.JIT,
    identity=False,
  )

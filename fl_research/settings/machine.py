"""What computes a run; nothing here changes more of its results than last digits."""

import dataclasses

from fl_research import domains, runtime
from fl_research.settings import section

_setting = section.settings_of('Machine')
_CHUNKS = runtime.CHUNKS  # In the class `runtime` is a setting.


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
    'chunks of clients at work at the same time, with --runtime=ray the actors; 0: one per core. '
    'Changes no result',
    identity=False,
    **domains.COUNT_OR_0,
  )
  client_chunks: int = _setting(
    _CHUNKS,
    'into how many chunks a cohort is cut, at most as many as can be at work at the same time; '
    'sums are taken by chunk, so that last digits depend on it, and not on the cores',
    **domains.COUNT,
  )
  jit: str = _setting(
    'off',
    'compile client work with XLA: off, on, or (auto) whatever a timed trial finds faster, so that '
    'the same command may end in other last digits',
    choices=lambda: runtime.JIT,
    identity=False,
  )
  ray_address: str = _setting(
    '',
    'with --runtime=ray, or --launch=ray of a sweep, the cluster to join: host:port of its head, '
    'or auto for the one that this machine is part of; empty: one is started here',
    identity=False,
  )

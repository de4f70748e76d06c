"""How updates are encoded."""

import dataclasses

from fl_research.aggregation import compression
from fl_research.settings import section

_setting = section.settings_of('Wire')


@dataclasses.dataclass(frozen=True)
class Wire:
  """Settings of the wire."""

  compressor: str = _setting(
    '',
    'how updates are encoded: stages in order, such as rotation,quantize:2, or '
    f'{", ".join(compression.COMPRESSORS)}; empty: as floats',
  )

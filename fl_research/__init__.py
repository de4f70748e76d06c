"""Federated-learning research on TensorFlow Federated.

`experiment` and `Experiment` are those of `fl_research.api`; `from_table`, `from_arrays`,
`from_datasets` and `import_data` those of `fl_research.own_data`.
"""

import importlib
from typing import Any

from fl_research import environment  # noqa: F401  sets what must be set before TensorFlow starts

_HOMES = {
  'Experiment': 'fl_research.api',
  'UsageError': 'fl_research.registry',
  'experiment': 'fl_research.api',
  'from_arrays': 'fl_research.own_data',
  'from_datasets': 'fl_research.own_data',
  'from_table': 'fl_research.own_data',
  'import_data': 'fl_research.own_data',
}
__all__ = tuple(_HOMES)


def __getattr__(name: str) -> Any:
  """The names of `_HOMES`, imported when they are asked for, since pandas takes half a second."""
  if name not in _HOMES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  return getattr(importlib.import_module(_HOMES[name]), name)

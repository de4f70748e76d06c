"""Federated-learning research on TensorFlow Federated.

`experiment` and `Experiment` are those of `fl_research.api`.
"""

import importlib
from typing import Any

from fl_research import environment  # noqa: F401  sets what must be set before TensorFlow starts

__all__ = ('Experiment', 'UsageError', 'experiment')

_HOMES = {'UsageError': 'fl_research.registry'}


def __getattr__(name: str) -> Any:
  """The names of `__all__`, imported when they are asked for, since pandas takes half a second."""
  if name not in __all__:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  return getattr(importlib.import_module(_HOMES.get(name, 'fl_research.api')), name)

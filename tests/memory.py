"""How much memory the suite's process takes, and giving back what it need not."""

import gc
import sys

from fl_research.runtime import memory

resident_bytes = memory.resident_bytes


def forget_results(module) -> None:
  """Empties the caches of a module's functions, which hold whole processes."""
  for value in vars(module).values():
    if getattr(value, '__module__', None) == module.__name__ and hasattr(value, 'cache_clear'):
      value.cache_clear()


def forget() -> None:
  """Frees what nothing can call any more."""
  if 'tests.contexts' in sys.modules:
    sys.modules['tests.contexts'].forget()
  if 'fl_research.runtime.fused' in sys.modules:
    sys.modules['fl_research.runtime.fused'].forget()
  gc.collect()
  memory.trim()

"""How much memory the suite's process takes, and giving back what it need not."""

import gc
import itertools
import sys

from fl_research.runtime import memory

resident_bytes = memory.resident_bytes


_LOOKED_AT = 8
"""How often is forgotten until all is looked at that was left before."""

_forgotten = itertools.count(1)


def keep_what_is_imported() -> None:
  """What there is now stays: no later collection of garbage need look at it.

  Graphs are many objects that live long: looked at ten times as seldom, a twelfth is saved.
  """
  _collect()
  gc.set_threshold(7000, 20, 20)


def _collect() -> None:
  """Frees what is garbage now, and has later collections pass over what is not.

  TFF's types and much else stay to the end, and grow to half a million objects.
  """
  gc.collect()
  gc.freeze()


def forget_results(module) -> None:
  """Empties the caches of a module's functions, which hold whole processes."""
  for value in vars(module).values():
    if getattr(value, '__module__', None) == module.__name__ and hasattr(value, 'cache_clear'):
      value.cache_clear()


def forget() -> None:
  """Frees what nothing can call any more, and what modules keep that tests share."""
  for name, module in list(sys.modules.items()):
    if name.startswith('tests.') and not name.rpartition('.')[2].startswith('test_'):
      forget_results(module)
  for name in ('fused', 'native'):
    if f'fl_research.runtime.{name}' in sys.modules:
      sys.modules[f'fl_research.runtime.{name}'].forget()
  if next(_forgotten) % _LOOKED_AT == 0:
    gc.unfreeze()
  _collect()
  memory.trim()

"""Memory of this process: how much it has, and what of it is free and still the process's."""

import ctypes
import os
import pathlib

LARGE_MODEL = 50_000_000
"""Parameters."""


def prepare(parameters: int) -> None:
  """Makes TensorFlow return the memory of large tensors to the system, where a model has many.

  Its own allocator, which is the faster one for small models, keeps whatever it has had once. It
  is chosen when the first tensor is made: later calls change nothing.
  """
  if parameters >= LARGE_MODEL:
    os.environ.setdefault('TF_ONEDNN_USE_SYSTEM_ALLOCATOR', '1')


def trim() -> None:
  """Hands back to the system what has been freed; glibc keeps most of it otherwise."""
  library = ctypes.CDLL(None)
  if hasattr(library, 'malloc_trim'):
    library.malloc_trim(0)


def resident_bytes() -> int:
  """How much of this process is in memory now."""
  return int(pathlib.Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')

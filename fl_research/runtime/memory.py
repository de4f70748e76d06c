"""Memory of this process: how much it has, and what of it is free and still the process's."""

import ctypes
import os
import pathlib


def trim() -> None:
  """Hands back to the system what has been freed; glibc keeps most of it otherwise."""
  library = ctypes.CDLL(None)
  if hasattr(library, 'malloc_trim'):
    library.malloc_trim(0)


def resident_bytes() -> int:
  """How much of this process is in memory now."""
  return int(pathlib.Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')

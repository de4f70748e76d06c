"""What a figure was measured on: the processor and the versions, and no name or address."""

import importlib.metadata
import os
import pathlib
import platform
from typing import Any


def describe() -> dict[str, Any]:
  """Processor, cores, memory, load, and the versions that matter."""
  version = importlib.metadata.version
  return {
    'processor': _processor(),
    'cores': len(os.sched_getaffinity(0)),
    'memory_gib': round(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30, 1),
    'load_before': round(os.getloadavg()[0], 2),
    'system': f'{platform.system()} {platform.machine()}',
    'python': platform.python_version(),
    'tensorflow': version('tensorflow'),
    'tensorflow_federated': version('tensorflow-federated'),
  }


def _processor() -> str:
  for line in pathlib.Path('/proc/cpuinfo').read_text().splitlines():
    if line.startswith('model name'):
      return line.partition(':')[2].strip()
  return platform.machine()

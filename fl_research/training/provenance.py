"""Where a result comes from: the commit of the source tree, and the machine without its name."""

import os
import pathlib
import platform
import subprocess
from typing import Any

_HERE = pathlib.Path(__file__).parent


def commit() -> str:
  """The commit of the source tree, with `+` when it has changes; empty outside a repository."""
  git = lambda *words: subprocess.run(
    ['git', '-C', str(_HERE), *words], capture_output=True, text=True, check=False
  )
  try:
    head = git('rev-parse', 'HEAD')
    changed = git('status', '--porcelain', '--untracked-files=no').stdout.strip()
  except OSError:
    return ''
  return head.stdout.strip() + ('+' if changed else '') if head.returncode == 0 else ''


def machine() -> dict[str, Any]:
  """Processor, cores that this process may use, memory, system and Python."""
  return {
    'system': f'{platform.system()} {platform.machine()}',
    'processor': _processor(),
    'cores': len(os.sched_getaffinity(0)),
    'memory_gib': round(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30, 1),
    'python': platform.python_version(),
  }


def _processor() -> str:
  """The model that Linux names, else what Python knows."""
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
  except OSError:
    lines = []
  for line in lines:
    if line.startswith('model name'):
      return line.partition(':')[2].strip()
  return platform.processor() or platform.machine()

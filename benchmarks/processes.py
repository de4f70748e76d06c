"""Processes that do what they are told line by line, and how much memory they and theirs take."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
"""Where `python -m benchmarks...` finds its modules."""

_END_SECONDS = 20.0


class ProcessError(RuntimeError):
  """A process ended before it answered; the message has the last line it wrote."""


class Process:
  """A Python module in a process of its own that answers JSON lines with JSON lines.

  It leads a session of its own, which ends with it: whatever it has started is ended too.

  Args:
    module: the module.
    *arguments: its arguments.

  Attributes:
    pid: its id, and that of its session.
    started: when it was started, by `time.monotonic()`.
    peak_bytes: the largest sum of the resident peaks of its processes at any answer so far.
  """

  def __init__(self, module: str, *arguments: str):
    self._name = ' '.join([module, *arguments])
    self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by `close`
    self.started = time.monotonic()
    self.peak_bytes = 0
    self._process = subprocess.Popen(
      [sys.executable, '-m', module, *arguments],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._errors,
      cwd=ROOT,
      text=True,
      start_new_session=True,
    )
    self.pid = self._process.pid

  def __enter__(self) -> 'Process':
    return self

  def __exit__(self, *exception: Any) -> None:
    self.close()

  def ask(self, request: dict[str, Any]) -> dict[str, Any]:
    """Sends a request and waits for the answer."""
    stdin = self._process.stdin
    if stdin is not None:
      with contextlib.suppress(BrokenPipeError):  # It has ended: `answer` says why.
        stdin.write(json.dumps(request) + '\n')
        stdin.flush()
    return self.answer()

  def answer(self) -> dict[str, Any]:
    """Waits for the next answer.

    Raises:
      ProcessError: the process has ended instead.
    """
    stdout = self._process.stdout
    line = stdout.readline() if stdout is not None else ''
    if not line:
      raise ProcessError(f'{self._name}: {self._last_words()}')
    self.peak_bytes = max(self.peak_bytes, sum(map(peak_bytes, family(self.pid))))
    return json.loads(line)

  def cpu_seconds(self) -> float:
    """Seconds that it and all that it has started have kept processors busy."""
    return sum(map(cpu_seconds, family(self.pid)))

  def close(self) -> None:
    """Ends the process and all that it has started."""
    if self._process.stdin is not None:
      with contextlib.suppress(BrokenPipeError):
        self._process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
      self._process.wait(_END_SECONDS)
    with contextlib.suppress(ProcessLookupError):
      os.killpg(self.pid, signal.SIGKILL)
    self._process.wait()
    if self._process.stdout is not None:
      self._process.stdout.close()
    self._errors.close()

  def _last_words(self) -> str:
    self._process.wait()
    self._errors.seek(0)
    lines = self._errors.read().decode(errors='replace').strip().splitlines()
    return lines[-1] if lines else f'ended with code {self._process.returncode}'


def family(pid: int) -> list[int]:
  """A process and all its descendants that are alive."""
  children: dict[int, list[int]] = {}
  for entry in pathlib.Path('/proc').iterdir():
    if entry.name.isdigit():
      with contextlib.suppress(OSError):
        # The second field, the program's name in parentheses, may hold anything.
        fields = (entry / 'stat').read_text().rpartition(')')[2].split()
        children.setdefault(int(fields[1]), []).append(int(entry.name))
  found = [pid]
  for one in found:
    found += children.get(one, [])
  return found


def cpu_seconds(pid: int) -> float:
  """Seconds that a process has kept processors busy; 0 when it is gone."""
  with contextlib.suppress(OSError):
    fields = (pathlib.Path('/proc') / str(pid) / 'stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')
  return 0.0


def peak_bytes(pid: int) -> int:
  """The largest resident size a process has had; 0 when it is gone."""
  return _status(pid, 'VmHWM')


def resident_bytes(pid: int) -> int:
  """The resident size of a process; 0 when it is gone."""
  return _status(pid, 'VmRSS')


def _status(pid: int, field: str) -> int:
  with contextlib.suppress(OSError):
    for line in pathlib.Path(f'/proc/{pid}/status').read_text().splitlines():
      if line.startswith(f'{field}:'):
        return 1024 * int(line.split()[1])
  return 0

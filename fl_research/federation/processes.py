"""Programs that are started together and ended together."""

from collections.abc import Mapping, Sequence
import contextlib
import os
import pathlib
import subprocess
import time
from typing import Optional

from fl_research.federation import process_tree, watcher

_GRACE_SECONDS = 10.0


class Processes:
  """Programs; leaving the context ends all of them.

  Each writes what it says to a file in a folder. They are asked to end (SIGTERM), last begun first,
  and what has not ended within ten seconds is killed, with all that it has started. Where this
  process is killed itself, they are killed at once (`watcher`).

  Args:
    logs: the folder.
  """

  def __init__(self, logs: pathlib.Path):
    logs.mkdir(parents=True, exist_ok=True)
    self._logs = logs
    self._running: dict[str, subprocess.Popen] = {}
    self._watcher = watcher.Watcher()

  def __enter__(self) -> 'Processes':
    return self

  def __exit__(self, *_) -> None:
    running = list(reversed(self._running.values()))
    # Some of what they have started is in groups of its own.
    started = [each for process in running for each in process_tree.descendants(process.pid)]
    for process in running:
      process.terminate()
    end = time.monotonic() + _GRACE_SECONDS
    for process in running:
      with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, end - time.monotonic()))
      process.kill()
      process.wait()
    for each in started:
      process_tree.kill(each)
    self._watcher.close()

  def start(
    self, name: str, command: Sequence[str], environment: Optional[Mapping[str, str]] = None
  ) -> subprocess.Popen:
    """Starts a program; one of this name that has ended is replaced.

    Args:
      name: of the program, and of its file.
      command: the program and its arguments.
      environment: variables that it has besides ours.
    """
    with open(self.log(name), 'ab') as log:
      process = subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
      )
    self._running[name] = process
    self.watch(process)
    return process

  def watch(self, process: subprocess.Popen) -> None:
    """Has a program that was started elsewhere end where this process is killed."""
    self._watcher.watch(process.pid)

  def stop(self, name: str) -> None:
    """Kills a program, if it is running."""
    if name in self._running:
      self._running[name].kill()
      self._running[name].wait()

  def pid(self, name: str) -> int:
    """The number of a program."""
    return self._running[name].pid

  def log(self, name: str) -> pathlib.Path:
    """Where a program writes to."""
    return self._logs / f'{name}.log'

  def last_line(self, name: str) -> str:
    """The last thing that a program has said."""
    with contextlib.suppress(OSError):
      lines = self.log(name).read_text(errors='replace').splitlines()
      said = [line.strip() for line in lines if line.strip()]
      return said[-1] if said else ''
    return ''

  def ended(self) -> dict[str, int]:
    """Exit codes of the programs that have ended."""
    codes = {name: process.poll() for name, process in self._running.items()}
    return {name: code for name, code in codes.items() if code is not None}

"""Which processes others have started, from /proc."""

import contextlib
import os
import pathlib
import signal
from typing import NamedTuple


class Process(NamedTuple):
  """A process; two at different times with the same number are not equal.

  Attributes:
    pid: its number.
    start: when it began, in ticks since the machine did.
    parent: the number of who started it.
    command: with its arguments.
    is_over: whether it has ended, and only nobody has asked how.
  """

  pid: int
  start: int
  parent: int
  command: str
  is_over: bool


def descendants(pid: int) -> set[Process]:
  """What a process has started, and those in turn, as far as nobody in between has ended."""
  everybody = _all()
  found: set[Process] = set()
  parents = {pid}
  while parents:
    children = {process for process in everybody if process.parent in parents} - found
    found |= children
    parents = {process.pid for process in children}
  return found


def of(pid: int) -> 'Process | None':
  """The process of this number; None where there is none."""
  return _read(pid)


def kill(process: Process) -> None:
  """Kills a process if it is still there, whosever child it is by now."""
  if is_alive(process):
    with contextlib.suppress(ProcessLookupError):
      os.kill(process.pid, signal.SIGKILL)


def is_alive(process: Process) -> bool:
  """Whether a process is still there, and has not ended."""
  now = _read(process.pid)
  return now is not None and now.start == process.start and not now.is_over


def _all() -> list[Process]:
  numbers = [int(path.name) for path in pathlib.Path('/proc').glob('[0-9]*')]
  return [process for number in numbers if (process := _read(number)) is not None]


def _read(pid: int) -> 'Process | None':
  folder = pathlib.Path('/proc', str(pid))
  try:
    # The name in parentheses may have spaces and parentheses in it.
    fields = (folder / 'stat').read_text().rpartition(')')[2].split()
    command = (folder / 'cmdline').read_bytes().replace(b'\0', b' ').decode(errors='replace')
  except OSError:
    return None  # it has ended meanwhile
  return Process(pid, int(fields[19]), int(fields[1]), command, fields[0] == 'Z')

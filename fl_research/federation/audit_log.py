"""A log to which lines are added and in which nothing can be changed unnoticed, within limits.

Each line is a table of JSON with the SHA-256 of the line before it (`previous`), so that whoever
changes, removes, inserts or swaps a line must make all later ones anew (Haber, Stornetta 1991, "How
to Time-Stamp a Digital Document", section 5). Beside it a file `<name>.head` holds the number of
lines, their bytes and the hash of the last, so that lines cut off at the end are missed.

What cannot be noticed: who may write both files can cut both back to an earlier state, or make all
of it anew. Only a hash noted elsewhere, on paper or with the experimenter, tells then: `verify`
takes one.

A line is on the disk when `append` returns. A process killed in the middle of a line has not done
yet what the line was to tell of; the next one removes the piece, and says so in a line.
"""

import collections
from collections.abc import Iterator
import contextlib
import dataclasses
import datetime
import fcntl
import hashlib
import json
import os
import pathlib
from typing import Any, BinaryIO, Optional

from fl_research.federation import records
from fl_research.registry import UsageError
from fl_research.training import atomic_files

BEGINNING = '0' * 64
"""What the first line has as the hash of the one before it."""

_HEAD = '.head'


@dataclasses.dataclass(frozen=True)
class Head(records.Checked):
  """How far a log goes: its lines, their bytes, the SHA-256 of the last."""

  lines: int = 0
  bytes: int = 0
  sha256: str = BEGINNING


class AuditLog:
  """The log in a file, to which several processes and threads may append.

  Args:
    path: of the file, made with the first line.
  """

  def __init__(self, path: pathlib.Path):
    self.path = path

  def append(self, what: str, **facts: Any) -> None:
    """Adds a line.

    Args:
      what: kind of the event.
      facts: what JSON can hold.

    Raises:
      UsageError: the log is shorter than it was, or its head is missing.
      OSError: it cannot be written.
    """
    with self._locked() as file:
      head = self._recover(file)
      self._write(file, head, what, facts)

  @contextlib.contextmanager
  def _locked(self) -> Iterator[BinaryIO]:
    if not self.path.exists():
      _write_head(self.path, Head(), only_new=True)
    with open(self.path, 'a+b') as file:
      fcntl.flock(file, fcntl.LOCK_EX)
      yield file

  def _recover(self, file: BinaryIO) -> Head:
    """The head, after what a process that was killed left behind it."""
    head = _read_head(self.path)
    if head is None:
      raise UsageError(f'{head_path(self.path)}: is missing, and {self.path} has lines')
    size = file.seek(0, os.SEEK_END)
    if size < head.bytes:
      raise UsageError(f'{self.path}: lines are missing at its end ({verify(self.path)})')
    file.seek(head.bytes)
    *whole, torn = file.read().split(b'\n')
    for line in whole:
      fault = _fault(line, head.lines + 1, head.sha256)
      if fault:
        raise UsageError(f'{self.path}: {fault}')
      head = _after(head, line)
    if torn:
      file.truncate(head.bytes)
      head = self._write(file, head, 'piece of a line removed', {'bytes': len(torn)})
    return head

  def _write(self, file: BinaryIO, head: Head, what: str, facts: dict[str, Any]) -> Head:
    entry = {
      'number': head.lines + 1,
      'time': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
      'what': what,
      **facts,
      'previous': head.sha256,
    }
    line = json.dumps(entry, allow_nan=False).encode()
    file.write(line + b'\n')
    file.flush()
    os.fsync(file.fileno())
    head = _after(head, line)
    _write_head(self.path, head)
    return head


def head_path(path: pathlib.Path) -> pathlib.Path:
  """Where the head of a log stands."""
  return path.with_name(path.name + _HEAD)


def head_hash(path: pathlib.Path) -> str:
  """The hash of the last line, to be noted elsewhere."""
  head = _read_head(path)
  return BEGINNING if head is None else head.sha256


def entries(path: pathlib.Path) -> Iterator[dict[str, Any]]:
  """The lines of a log that verifies, as tables."""
  if path.exists():
    with open(path, encoding='utf-8') as file:
      for line in file:
        if line.endswith('\n'):
          yield json.loads(line)


def newest(path: pathlib.Path, count: int) -> list[dict[str, Any]]:
  """The last lines, the newest first."""
  return list(collections.deque(entries(path), maxlen=count))[::-1]


def verify(path: pathlib.Path, noted: str = '') -> Optional[str]:
  """What is wrong with a log, in a line that names the first broken one; None when nothing is.

  Args:
    path: of the log.
    noted: the hash that some line had once, as noted elsewhere.
  """
  head = _read_head(path)
  if not path.exists():
    return None if head is None and not noted else f'{path} is missing'
  if head is None:
    return f'{head_path(path)} is missing or damaged'
  state = Head()
  passed_head = head.lines == 0
  passed_noted = noted in ('', BEGINNING)
  with open(path, 'rb') as file:
    for line in file:
      if not line.endswith(b'\n'):
        if passed_head:
          break  # left by a process that was killed in the middle of it
        return f'line {state.lines + 1} is not whole'
      fault = _fault(line[:-1], state.lines + 1, state.sha256)
      if fault:
        return fault
      state = _after(state, line[:-1])
      passed_head |= state == head
      passed_noted |= state.sha256 == noted
  if not passed_head:
    return _missed_head(state, head)
  return None if passed_noted else 'no line has the noted hash: the log was made anew or cut'


def _missed_head(state: Head, head: Head) -> str:
  if state.lines < head.lines:
    return f'line {state.lines + 1} is missing, and so is all up to line {head.lines}'
  return f'line {head.lines} is not the one that the head file names'


def _fault(line: bytes, number: int, previous: str) -> Optional[str]:
  """What is wrong with a line; None when nothing is."""
  try:
    entry = json.loads(line)
  except ValueError:
    return f'line {number} is not JSON'
  if not isinstance(entry, dict) or entry.get('number') != number:
    return f'line {number} does not have this number'
  if entry.get('previous') != previous:
    return f'line {number} does not follow from the line before it, one of which was changed'
  return None


def _after(head: Head, line: bytes) -> Head:
  """The head with one line more."""
  size = head.bytes + len(line) + 1
  return Head(head.lines + 1, size, hashlib.sha256(line).hexdigest())


def _read_head(path: pathlib.Path) -> Optional[Head]:
  """The head; None when it is missing or damaged."""
  try:
    return records.read(Head, json.loads(head_path(path).read_bytes()), str(path))
  except (FileNotFoundError, ValueError):
    return None


def _write_head(path: pathlib.Path, head: Head, only_new: bool = False) -> None:
  if not (only_new and head_path(path).exists()):
    atomic_files.write_atomically(head_path(path), json.dumps(records.to_values(head)).encode())

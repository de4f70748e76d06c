"""That one process at a time is at work in a run's folder, also where hosts share the disk.

There are two locks. `flock` on the folder ends with the process that holds it, whatever ends it,
but a network's file system may show it to processes of one host only. So beside it stands the file
`run.lock`, made by O_EXCL, which says who made it; a heartbeat renews its time as long as its
process lives. Who finds the file there, and has the `flock`,

- goes on when its maker ran on the same boot of the same kernel: it would still hold the `flock`;
- goes on when it ran on a host of the same name that has restarted, with no heartbeat any more;
- waits when it ran for the same sweep, which has given it up since its node is lost, until it has
  long not been heard of, and then goes on;
- refuses otherwise, and says whether the maker is at work or has long not been heard of.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import socket
import threading
import time
from typing import Any
import uuid

from fl_research.registry import UsageError
from fl_research.training import atomic_files, terminal

FILE = 'run.lock'
HEARTBEAT_SECONDS = 15.0
SILENT_SECONDS = 8 * HEARTBEAT_SECONDS
"""Without a heartbeat for so long, a process counts as silent."""
_LOOK_SECONDS = 1.0
SWEEP_VARIABLE = 'FL_RESEARCH_SWEEP'
"""Of the environment: the name of the sweep that a process runs for, no other's."""


class FolderLock:
  """The locks on one folder, from the making of this object until `release`.

  Args:
    folder: the folder, which is there.
    flag: what a refusal begins with, `--flag=value`.

  Raises:
    UsageError: another process holds them, or may do so.
    OSError: the folder cannot be written to.
  """

  def __init__(self, folder: pathlib.Path, flag: str):
    self._path = folder / FILE
    self._flag = flag
    self._own = {**_here(), 'pid': os.getpid(), 'key': uuid.uuid4().hex}
    self._own['sweep'] = os.environ.get(SWEEP_VARIABLE, '')
    self._descriptor = os.open(folder, os.O_RDONLY)
    self._ended = threading.Event()
    try:
      self._take(self._flock())
    except BaseException:
      os.close(self._descriptor)
      raise
    threading.Thread(target=self._beat, name='heartbeat of a run', daemon=True).start()

  def release(self) -> None:
    """Lets others into the folder."""
    self._ended.set()
    with contextlib.suppress(OSError):
      if _maker(self._path).get('key') == self._own['key']:
        self._path.unlink()
    os.close(self._descriptor)

  def _flock(self) -> bool:
    """Takes the folder's `flock`; gives whether this file system has any."""
    try:
      fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise UsageError(
        f'{self._flag}: another process is at work in {self._path.parent}; wait until it has ended'
      ) from error
    except OSError:
      return False
    return True

  def _take(self, has_flock: bool) -> None:
    with contextlib.suppress(FileExistsError):
      return self._make()
    maker, silent_for = _maker(self._path), _silence(self._path)
    ended = has_flock and maker.get('boot') == self._own['boot']
    restarted = maker.get('host') == self._own['host'] and maker.get('boot') != self._own['boot']
    given_up = bool(self._own['sweep']) and maker.get('sweep') == self._own['sweep']
    if given_up and not ended:
      silent_for = self._until_silent(silent_for)
    if not ended and not ((restarted or given_up) and silent_for > SILENT_SECONDS):
      raise UsageError(f'{self._flag}: {self._refusal(maker, silent_for)}')
    self._path.unlink(missing_ok=True)
    try:
      return self._make()
    except FileExistsError as error:
      raise UsageError(
        f'{self._flag}: another process has just begun in {self._path.parent}; wait until it has '
        'ended'
      ) from error

  def _until_silent(self, silent_for: float) -> float:
    """Waits for a heartbeat, or for the end of the time in which one may come; the silence then."""
    if silent_for <= SILENT_SECONDS:
      terminal.note(f'{self._path}: is of a process that was lost; waiting whether it is at work')
    before = silent_for
    while before <= silent_for <= SILENT_SECONDS:
      time.sleep(_LOOK_SECONDS)
      before, silent_for = silent_for, _silence(self._path)
    return silent_for

  def _make(self) -> None:
    descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
      with open(descriptor, 'w') as file:
        json.dump(self._own, file)
    except OSError:
      self._path.unlink(missing_ok=True)
      raise

  def _refusal(self, maker: dict[str, Any], silent_for: float) -> str:
    who = f'process {maker.get("pid", "?")} on host {maker.get("host", "?")}'
    if silent_for <= SILENT_SECONDS:
      return f'{who} is at work in {self._path.parent}; wait until it has ended'
    return (
      f'{who} began in {self._path.parent} and has not been heard of for {silent_for:.0f} s; if it '
      f'has ended, remove {self._path} and give the command again'
    )

  def _beat(self) -> None:
    while not self._ended.wait(HEARTBEAT_SECONDS):
      try:
        os.utime(self._path)
      except FileNotFoundError:
        if not self._ended.is_set():
          terminal.note(
            f'{self._path}: was removed though this run goes on; let no other begin here'
          )
        return
      except OSError:
        continue


def _here() -> dict[str, str]:
  """This host's name, and the boot of its kernel."""
  host = socket.gethostname()
  try:
    boot = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
  except OSError:
    boot = host
  return {'host': host, 'boot': boot}


def _maker(path: pathlib.Path) -> dict[str, Any]:
  """What a lock file says of its maker; nothing where it is not there or not whole."""
  try:
    maker = json.loads(path.read_text())
  except (FileNotFoundError, ValueError):
    return {}
  return maker if isinstance(maker, dict) else {}


def _silence(path: pathlib.Path) -> float:
  """Seconds since a lock file's last heartbeat, by the clock of the disk that it is on."""
  probe = path.with_name(f'{path.name}.{uuid.uuid4().hex}{atomic_files.TEMPORARY}')
  try:
    probe.touch()
    now = probe.stat().st_mtime
    probe.unlink(missing_ok=True)
  except OSError:
    now = time.time()
  try:
    return now - path.stat().st_mtime
  except FileNotFoundError:
    return 0.0

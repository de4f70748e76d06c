"""Stands in for a program that trains: does what its first argument says.

`cores` prints those it may use; `meet` too, once another does so (in the folder that is its second
argument); `process` its number; `fail` ends as a user's mistake does, `raise` in an exception,
`signal` and `exit` without a chance to say more than it has; `native` writes as C++ code does;
`leave` leaves a process behind, prints its number, and dies; `sleep` sleeps; `orphan` ends the
process that has started this one, unless the file that is its second argument is there.
"""

import ctypes
import os
import pathlib
import signal
import subprocess
import sys
import time


def main(what: str, *files: str) -> int:
  if what in ('cores', 'meet'):
    _meet(*map(pathlib.Path, files))
    print(sorted(os.sched_getaffinity(0)))
  elif what == 'process':
    print(os.getpid())
  elif what == 'raise':
    raise ValueError('the reason')
  elif what == 'native':
    ctypes.CDLL(None).dprintf(1, b'written by C\n')
  elif what == 'leave':
    print(subprocess.Popen(['sleep', '600']).pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
  elif what == 'sleep':
    print(os.getpid(), flush=True)
    time.sleep(600)
  elif what == 'orphan':
    _orphan(*map(pathlib.Path, files))
  else:
    return _bad_end(what)
  return 0


def _meet(*folders: pathlib.Path) -> None:
  time.sleep(0.3)
  for folder in folders:
    (folder / f'{os.getpid()} is here').touch()
    while len(list(folder.glob('* is here'))) < 2:
      time.sleep(0.01)


def _orphan(*files: pathlib.Path) -> None:
  if not any(file.exists() for file in files):
    for file in files:
      file.touch()
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)
  print('again')


def _bad_end(what: str) -> int:
  print('the last words', flush=True)
  if what == 'signal':
    os.kill(os.getpid(), signal.SIGSEGV)
  if what == 'exit':
    os._exit(7)
  return 2


if __name__ == '__main__':
  sys.exit(main(*sys.argv[1:]))

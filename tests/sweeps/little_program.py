"""Stands in for a program that trains: does what its only argument says.

`cores` prints those it may use; `process` its number; `fail` ends as a user's mistake does, `raise`
in an exception, `signal` and `exit` without a chance to say more than it has; `native` writes as
C++ code does; `leave` leaves a process behind, prints its number, and dies; `sleep` sleeps.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time


def main(what: str) -> int:
  if what == 'cores':
    time.sleep(0.3)
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
  else:
    return _bad_end(what)
  return 0


def _bad_end(what: str) -> int:
  print('the last words', flush=True)
  if what == 'signal':
    os.kill(os.getpid(), signal.SIGSEGV)
  if what == 'exit':
    os._exit(7)
  return 2


if __name__ == '__main__':
  sys.exit(main(sys.argv[1]))

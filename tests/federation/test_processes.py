"""Programs that are started together end together, with all that they have started."""

import signal
import subprocess
import sys
import time

from fl_research.federation import process_tree
from fl_research.federation.processes import Processes

# Starts a child in a session of its own, neither of which heeds SIGTERM.
CHILD = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('child', flush=True)
time.sleep(600)
"""
STUBBORN = f"""
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, '-c', {CHILD!r}], start_new_session=True)
time.sleep(600)
"""


KILLED = f"""
import os, pathlib, signal, subprocess, sys, time
from fl_research.federation import process_tree
from fl_research.federation.processes import Processes
with Processes(pathlib.Path(sys.argv[1])) as processes:
  processes.start('stubborn', [sys.executable, '-c', {STUBBORN!r}])
  besides = subprocess.Popen([sys.executable, '-c', {CHILD!r}], stdout=subprocess.DEVNULL)
  processes.watch(besides)
  while processes.last_line('stubborn') != 'child':
    time.sleep(0.01)
  for process in process_tree.descendants(os.getpid()):
    print(process.pid, process.start, flush=True)
  print('all', flush=True)
  os.kill(os.getpid(), signal.SIGKILL)
"""


def wait_for_line(processes, name: str, line: str) -> None:
  end = time.monotonic() + 60
  while processes.last_line(name) != line:
    assert time.monotonic() < end
    time.sleep(0.01)


def test_everything_ends(tmp_path, monkeypatch):
  monkeypatch.setattr('fl_research.federation.processes._GRACE_SECONDS', 0.2)
  with Processes(tmp_path / 'logs') as processes:
    processes.start('stubborn', [sys.executable, '-c', STUBBORN])
    processes.start('brief', [sys.executable, '-c', 'print("a line"); raise SystemExit(3)'])
    wait_for_line(processes, 'stubborn', 'child')
    wait_for_line(processes, 'brief', 'a line')
    begun = process_tree.descendants(processes.pid('stubborn'))
    assert len(begun) == 1
    while 'brief' not in processes.ended():
      time.sleep(0.01)
    assert processes.ended() == {'brief': 3}
    parent = processes.pid('stubborn')
  assert not process_tree.descendants(parent)
  (child,) = begun
  end = time.monotonic() + 60
  while process_tree.is_alive(child):
    assert time.monotonic() < end
    time.sleep(0.01)


def test_everything_ends_with_a_starter_that_is_killed(tmp_path):
  killed = subprocess.run(
    [sys.executable, '-c', KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
  )
  *begun, last = killed.stdout.splitlines()
  assert killed.returncode == -signal.SIGKILL and last == 'all'
  assert len(begun) == 4  # One with its child, the other, and who watches.
  numbers = [tuple(map(int, line.split())) for line in begun]
  end = time.monotonic() + 60
  for pid, start in numbers:
    while (found := process_tree.of(pid)) and found.start == start and not found.is_over:
      assert time.monotonic() < end
      time.sleep(0.01)

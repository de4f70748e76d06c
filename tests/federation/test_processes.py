"""Programs that are started together end together, with all that they have started."""

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

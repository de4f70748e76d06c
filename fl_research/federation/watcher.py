"""Ends programs whose starter has ended, in whatever way: a process that waits at a pipe.

    python -m fl_research.federation.watcher

On its standard input come lines, `PID START`, of programs that were started. When the input ends,
nobody holds its other end any more: those programs are killed, with all that they have started. The
system closes the other end when the starter is killed, which no handler of its own can notice.
"""

from collections.abc import Iterable
import pathlib
import signal
import subprocess
import sys

from fl_research.federation import process_tree


class Watcher:
  """Has the programs that it is told of end with this process, though it be killed by SIGKILL."""

  def __init__(self):
    self._process = subprocess.Popen(
      [sys.executable, '-m', __name__],
      stdin=subprocess.PIPE,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
      # What ends the starter's group, such as Ctrl-C, must not end the watcher first.
      start_new_session=True,
      cwd=pathlib.Path(__file__).parents[2],
    )

  def watch(self, pid: int) -> None:
    """Watches over a child of this process."""
    found = process_tree.of(pid)
    if found is not None and self._process.stdin is not None:
      self._process.stdin.write(f'{pid} {found.start}\n'.encode())
      self._process.stdin.flush()

  def close(self) -> None:
    """Watches no longer; to be called once all have ended, since it ends those that have not."""
    if self._process.stdin is not None:
      self._process.stdin.close()
    self._process.wait()


def end(lines: Iterable[str]) -> None:
  """Reads of programs until there are no more lines, and then ends those."""
  told = [tuple(map(int, line.split())) for line in lines if line.endswith('\n')]
  for pid, start in told:
    process = process_tree.of(pid)
    if process is not None and process.start == start:
      started = process_tree.descendants(pid)
      for each in (process, *started):
        process_tree.kill(each)


if __name__ == '__main__':
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  end(sys.stdin)

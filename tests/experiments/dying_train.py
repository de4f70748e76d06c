"""`experiments.train`, killed in the middle of a write.

    python -m tests.experiments.dying_train <moment>:<files>:<count> <flags of experiments.train>

kills the process (SIGKILL) at the count-th time that something happens to a file that matches the
pattern. The moments:

- `torn`: what was written is only half on the disk;
- `unnamed`: a temporary file is complete, and has not been renamed yet;
- `renamed`: it has just been renamed.
"""

import fnmatch
import os
import signal

from experiments import command_line, train


class Death:
  """Stands in for functions of `os` that every write passes, and kills at a given moment.

  Args:
    moment: one of those in the module's docstring.
    pattern: which files count; matched against whole paths.
    count: 1 for the first time.
  """

  def __init__(self, moment: str, pattern: str, count: int):
    self._moment, self._pattern, self._left = moment, pattern, count
    self._fsync, self._replace, self._truncate = os.fsync, os.replace, os.truncate
    self._sizes: dict[str, int] = {}

  def install(self) -> None:
    """Puts itself in the place of the functions."""
    os.fsync, os.replace, os.truncate = self.fsync, self.replace, self.truncate

  def _is_due(self, moment: str, path: str) -> bool:
    if moment != self._moment or not fnmatch.fnmatch(path, self._pattern):
      return False
    self._left -= 1
    return self._left == 0

  def fsync(self, descriptor: int) -> None:
    """`os.fsync`; a `torn` file keeps half of what was written since the last time."""
    self._fsync(descriptor)
    path = os.readlink(f'/proc/self/fd/{descriptor}')
    size = os.fstat(descriptor).st_size
    if self._is_due('torn', path):
      before = self._sizes.get(path, 0)
      self._truncate(path, before + (size - before) // 2)
      die()
    self._sizes[path] = size

  def truncate(self, path, size: int) -> None:
    """`os.truncate`, which tells how much of a file is there before anything is appended."""
    self._truncate(path, size)
    self._sizes[os.path.realpath(path)] = size

  def replace(self, source, target) -> None:
    """`os.replace`, `unnamed` before and `renamed` after."""
    if self._is_due('unnamed', str(target)):
      die()
    self._replace(source, target)
    if self._is_due('renamed', str(target)):
      die()


def die() -> None:
  """Ends this process as a crash would."""
  os.kill(os.getpid(), signal.SIGKILL)


def main(argv) -> int:
  moment, pattern, count = argv[1].rsplit(':', 2)
  Death(moment, pattern, int(count)).install()
  return train.main([argv[0], *argv[2:]])


if __name__ == '__main__':
  command_line.run_main(main)

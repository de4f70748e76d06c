"""Processes that need not import TensorFlow, which takes longer than all that most tests do.

One process of each suite's process has imported what programs import, and is forked for each of
them. They are processes like any other, with a number, an end and signals of their own; only their
start is not that of `python -m`, which a few tests keep.
"""

import atexit
from collections.abc import Callable
import multiprocessing
from multiprocessing import connection
import os
import pathlib
import signal
import sys
import traceback
from typing import Any, Optional

PROJECT = pathlib.Path(__file__).parents[1]

_CONTEXT = multiprocessing.get_context('forkserver')
_CONTEXT.set_forkserver_preload(['tests.preloaded'])

PIPE = -1
"""A stream that the test reads, or writes."""


class Program:
  """One process; much like `subprocess.Popen`, for text.

  Args:
    target: what it does; what it returns, or exits with, is its exit code.
    arguments: of the target.
    environment: variables that it has besides.
    stdin, stdout, stderr: `PIPE`, a file descriptor, or None for nowhere.
  """

  def __init__(
    self,
    target: Callable[..., Any],
    *arguments: Any,
    environment: Optional[dict[str, str]] = None,
    stdin: Optional[int] = None,
    stdout: Optional[int] = None,
    stderr: Optional[int] = None,
  ):
    nowhere = os.open(os.devnull, os.O_RDWR)
    ends, ours = [], []
    for stream, number in enumerate((stdin, stdout, stderr)):
      if number == PIPE:
        read, write = os.pipe()
        ours.append(os.fdopen(write, 'w') if stream == 0 else os.fdopen(read))
        ends.append(read if stream == 0 else write)
      else:
        ours.append(None)
        ends.append(os.dup(nowhere if number is None else number))
    os.close(nowhere)
    self.stdin, self.stdout, self.stderr = ours
    streams = [connection.Connection(end) for end in ends]
    self._process = _CONTEXT.Process(
      target=_run, args=(streams, environment or {}, target, arguments), daemon=True
    )
    self._process.start()
    for stream in streams:
      stream.close()
    self.pid = self._process.pid

  @property
  def returncode(self) -> Optional[int]:
    """Its exit code, or minus the signal that ended it; None while it runs."""
    return self._process.exitcode

  def poll(self) -> Optional[int]:
    return self.returncode

  def wait(self, timeout: float = 60) -> int:
    self._process.join(timeout)
    assert self.returncode is not None, f'it still runs after {timeout} s'
    return self.returncode

  def communicate(self, given: str = '', timeout: float = 300) -> tuple[str, str]:
    """Waits for its end; gives what it wrote to standard output and standard error.

    For little text only: what a pipe holds.
    """
    if self.stdin:
      self.stdin.write(given)
      self.stdin.close()
    self.wait(timeout)
    return tuple(
      file.read() if file and not file.closed else '' for file in (self.stdout, self.stderr)
    )

  def send_signal(self, number: int) -> None:
    os.kill(self.pid, number)

  def kill(self) -> None:
    self.send_signal(signal.SIGKILL)


def _run(streams, environment: dict[str, str], target: Callable[..., Any], arguments) -> None:
  """In the process: what `python -m` has around a program."""
  for number, stream in enumerate(streams):
    os.dup2(stream.fileno(), number)
    stream.close()
  sys.stdin = os.fdopen(0, closefd=False)
  sys.stdout = os.fdopen(1, 'w', closefd=False)
  sys.stderr = os.fdopen(2, 'w', buffering=1, closefd=False)
  os.environ.update(environment)
  os.chdir(PROJECT)
  code = 1
  try:
    code = target(*arguments) or 0
  except SystemExit as ended:
    code = ended.code or 0
  except BaseException:
    traceback.print_exc()
  finally:
    atexit._run_exitfuncs()
  sys.exit(code)


def check(function: Callable[..., Any], *arguments: Any) -> None:
  """Calls a function that asserts something in a process of its own.

  For what takes much memory, which TensorFlow keeps until its process ends.
  """
  program = Program(function, *arguments, stderr=PIPE)
  _, complaint = program.communicate()
  assert program.returncode == 0, complaint


def execute(code: str) -> None:
  """Runs Python code as a module of its own."""
  exec(compile(code, 'code', 'exec'), {'__name__': '__main__'})


def run_main(main: str, *arguments: str) -> None:
  """What `python -m` does with a binary of `experiments`."""
  import importlib

  from experiments import command_line

  sys.argv = [f'{main}.py', *arguments]
  command_line.run_main(importlib.import_module(main).main)

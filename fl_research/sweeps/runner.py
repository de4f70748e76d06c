"""Runs commands side by side; none of their processes outlives this one."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
import contextlib
import ctypes
import dataclasses
import os
import pathlib
import signal
import subprocess
import time
from typing import Any

GRACE_SECONDS = 15.0
"""How long commands that were asked to end may take; they save what they have."""

_PR_SET_PDEATHSIG = 1

Cores = frozenset[int]


@dataclasses.dataclass(frozen=True)
class Job:
  """One command.

  Attributes:
    name: what it is called.
    command: program and arguments.
    log: the file that its output goes to.
  """

  name: str
  command: tuple[str, ...]
  log: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Ended:
  """How a job ended.

  Attributes:
    job: the job.
    code: its exit code.
    seconds: how long it took.
  """

  job: Job
  code: int
  seconds: float

  def complaint(self) -> str:
    """The last line of its output, with the exit code when it says nothing."""
    lines = self.job.log.read_text(errors='replace').strip().splitlines()
    return lines[-1].strip() if lines else f'exit code {self.code}'


def run_jobs(
  jobs: Sequence[Job], parallel: int, environment: Mapping[str, str]
) -> Generator[Ended, None, None]:
  """Runs jobs, so many at a time, and yields each as it ends.

  Whenever the iteration ends early (an exception, SIGTERM or Ctrl-C as exceptions, `close()`), the
  jobs at work are asked to end, which for a run means after its round and with everything saved,
  and after `GRACE_SECONDS` are made to. When this process is killed, the kernel asks them.

  Each job has cores of its own: a round took 1.5 times as long when two runs shared two cores, as
  the threads of each are as many as the cores it sees. More jobs than cores have one core each,
  and some of them the same.

  Args:
    jobs: the jobs, started in this order.
    parallel: how many at a time.
    environment: their environment.
  """
  waiting = list(reversed(jobs))
  free = _shares_of_cores(min(parallel, len(jobs)))
  working: dict[subprocess.Popen, tuple[Job, Cores, float]] = {}
  try:
    while waiting or working:
      while waiting and free:
        job, cores = waiting.pop(), free.pop()
        working[_start(job, cores, environment)] = (job, cores, time.monotonic())
      for process in [process for process in working if process.poll() is not None]:
        job, cores, begin = working.pop(process)
        free.append(cores)
        _signal(process, signal.SIGKILL)  # What it may have left behind in its group.
        yield Ended(job, process.returncode, time.monotonic() - begin)
      time.sleep(0.05)
  finally:
    _end(list(working))


def _shares_of_cores(parallel: int) -> list[Cores]:
  """The cores that this process may use, dealt to so many jobs; at least one to each."""
  cores = sorted(os.sched_getaffinity(0))
  return [frozenset(cores[job % len(cores) :: parallel]) for job in range(parallel)]


def _start(job: Job, cores: Cores, environment: Mapping[str, str]) -> subprocess.Popen:
  job.log.parent.mkdir(parents=True, exist_ok=True)
  libc: Any = ctypes.CDLL(None)
  parent = os.getpid()

  def follow_parent() -> None:
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # It died before it could be followed.
      os._exit(1)
    os.sched_setaffinity(0, cores)

  with open(job.log, 'wb') as log:
    # A group of its own: Ctrl-C reaches this process only, which then decides.
    return subprocess.Popen(
      job.command,
      env=dict(environment),
      stdin=subprocess.DEVNULL,
      stdout=log,
      stderr=subprocess.STDOUT,
      start_new_session=True,
      preexec_fn=follow_parent,
    )


def _signal(process: subprocess.Popen, number: int) -> None:
  with contextlib.suppress(ProcessLookupError):  # Nobody may be left in its group.
    os.killpg(process.pid, number)


def _end(processes: Sequence[subprocess.Popen]) -> None:
  """Ends processes with all that is in their groups."""
  for process in processes:
    _signal(process, signal.SIGTERM)
  deadline = time.monotonic() + GRACE_SECONDS
  try:
    for process in processes:
      with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, deadline - time.monotonic()))
  finally:  # A second Ctrl-C cuts the waiting short.
    for process in processes:
      _signal(process, signal.SIGKILL)
      process.wait()


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
  """Turns SIGTERM and SIGHUP into `SystemExit`, so that what is at work is ended on the way out."""

  def leave(number: int, _: Any) -> None:
    raise SystemExit(128 + number)

  numbers = (signal.SIGTERM, signal.SIGHUP)
  handlers: dict[int, Callable | int | None] = {n: signal.signal(n, leave) for n in numbers}
  try:
    yield
  finally:
    for number, handler in handlers.items():
      signal.signal(number, handler)

"""Slots of this machine: in each a process, with cores of its own, that makes run after run."""

from collections.abc import Mapping, Sequence
import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
from typing import Any, IO, Optional

from fl_research import environment
from fl_research.sweeps.runner import Job

_WORKER = 'fl_research.sweeps.worker'
_PR_SET_PDEATHSIG = 1

Cores = frozenset[int]


def local_slots(parallel: int, jobs: Sequence[Job]) -> list['LocalSlot']:
  """Slots for jobs, so many at most; 0: one per core.

  Each has cores of its own: a round took 1.5 times as long when two runs shared two cores, as the
  threads of each are as many as the cores it sees. More slots than cores have one core each, and
  some of them the same.
  """
  count = min(parallel or len(os.sched_getaffinity(0)), len(jobs))
  return [LocalSlot(variables(), cores) for cores in shares_of_cores(count)]


def shares_of_cores(count: int) -> list[Cores]:
  """The cores that this process may use, dealt to so many; at least one to each."""
  cores = sorted(os.sched_getaffinity(0))
  return [frozenset(cores[share % len(cores) :: count]) for share in range(count)]


def variables() -> dict[str, str]:
  """The environment of the runs: this process's, with the project found from any folder."""
  return {**os.environ, 'PYTHONPATH': environment.python_path()}


class LocalSlot:
  """A slot, see `runner.Slot`. Its process is begun when there is a job for it.

  Args:
    variables: the environment of the processes.
    cores: that they may use.
    at_death: what the kernel sends the process when this one dies; SIGTERM asks a run to end.
  """

  def __init__(self, variables: Mapping[str, str], cores: Cores, at_death: int = signal.SIGTERM):
    self._begin = lambda errors: _Process(variables, cores, at_death, errors)
    self._now: Optional[_Process] = None
    self._shared_by = ''
    self._at_work = False

  @property
  def ready(self) -> bool:
    return not self._at_work

  @property
  def process(self) -> Optional[str]:
    return self._shared_by if self._now and self._now.alive else None

  def start(self, job: Job) -> None:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with open(job.log, 'wb') as log:
      if self._now is None or self.process != job.process:
        self.kill()
        self._now, self._shared_by = self._begin(log), job.process
    self._now.ask(
      {'program': job.program, 'arguments': job.arguments, 'log': str(job.log.absolute())}
    )
    self._at_work = True

  def code(self) -> Optional[int]:
    answer = self._now.answer() if self._now else None
    if answer is None:
      return None
    self._at_work = False
    if answer['retires']:
      self.kill()
    return answer['code']

  def ask_to_end(self) -> None:
    if self._at_work and self._now:
      self._now.signal(signal.SIGTERM)
    else:
      self.kill()

  def wait(self, seconds: float) -> None:
    if self._now:
      self._now.wait(seconds)

  def kill(self) -> None:
    """Ends its process with all that this has started; without a job there is nothing to save."""
    if self._now:
      self._now.kill()
    self._now, self._at_work = None, False


class _Process:
  """One process of `fl_research.sweeps.worker`, leading a group of its own.

  Args:
    variables, cores, at_death: as for `LocalSlot`.
    errors: what it complains to until it has its first job.
  """

  def __init__(self, variables: Mapping[str, str], cores: Cores, at_death: int, errors: IO[bytes]):
    libc: Any = ctypes.CDLL(None)
    parent = os.getpid()

    def follow_parent() -> None:
      libc.prctl(_PR_SET_PDEATHSIG, at_death)
      if os.getppid() != parent:  # It died before it could be followed.
        os._exit(1)
      os.sched_setaffinity(0, cores)

    # A group of its own: Ctrl-C reaches this process only, which then decides.
    self._popen = subprocess.Popen(
      (sys.executable, '-m', _WORKER),
      env=dict(variables),
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=errors,
      start_new_session=True,
      preexec_fn=follow_parent,
    )
    assert self._popen.stdin and self._popen.stdout
    self._requests, self._answers = self._popen.stdin, self._popen.stdout

  @property
  def alive(self) -> bool:
    return self._popen.poll() is None

  def ask(self, request: Mapping[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # It has just died; there will be no answer.
      self._requests.write(json.dumps(request).encode() + b'\n')
      self._requests.flush()

  def answer(self) -> Optional[dict[str, Any]]:
    """What it has answered; None as long as it has not. Its end is an answer, too."""
    if not select.select([self._answers], [], [], 0)[0]:
      return None
    line = self._answers.readline()
    return json.loads(line) if line else {'code': self._popen.wait(), 'retires': True}

  def signal(self, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # Nobody may be left in its group.
      os.killpg(self._popen.pid, number)

  def wait(self, seconds: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
      self._popen.wait(seconds)

  def kill(self) -> None:
    self.signal(signal.SIGKILL)
    self._popen.wait()
    self._answers.close()
    with contextlib.suppress(BrokenPipeError):
      self._requests.close()

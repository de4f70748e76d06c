"""Runs jobs side by side, each in a slot: a place for one job after the other."""

import collections
from collections.abc import Callable, Generator, Iterator, Sequence
import contextlib
import dataclasses
import pathlib
import signal
import time
from typing import Any, Optional, Protocol

GRACE_SECONDS = 15.0
"""How long jobs that were asked to end may take; they save what they have."""

MOST_LOSSES = 3
"""How often a job is begun again whose slot was lost."""

_LOOK_SECONDS = 0.02


@dataclasses.dataclass(frozen=True)
class Job:
  """One run.

  Attributes:
    name: what it is called.
    program: the module that makes it.
    arguments: the program's.
    log: the file that its output goes to.
    process: only jobs that agree in this may share a process.
    graphs: jobs that agree in this have graphs in common, which one process traces once.
  """

  name: str
  program: str
  arguments: tuple[str, ...]
  log: pathlib.Path
  process: str = ''
  graphs: str = ''


@dataclasses.dataclass(frozen=True)
class Ended:
  """How a job ended.

  Attributes:
    job: the job.
    code: its exit code.
    seconds: how long it took.
    lost: why its slot was lost, where that was so too often.
  """

  job: Job
  code: int
  seconds: float
  lost: str = ''

  def complaint(self) -> str:
    """The last line of its output, with the exit code when it says nothing."""
    if self.lost:
      return self.lost
    lines = self.job.log.read_text(errors='replace').strip().splitlines()
    return lines[-1].strip() if lines else f'exit code {self.code}'


class LostError(RuntimeError):
  """A slot has lost its process by no fault of the job's."""


class Slot(Protocol):
  """A place for one job after the other, in a process that outlives them."""

  @property
  def ready(self) -> bool:
    """Whether it, having no job, can begin with one; to ask is to say that there are some."""

  @property
  def process(self) -> Optional[str]:
    """`Job.process` of its process; None where it has none."""

  def start(self, job: Job) -> None:
    """Begins with a job, in its process where that is right for the job, else in a new one."""

  def code(self) -> Optional[int]:
    """The exit code of its job, or minus the signal that ended it; None while it is at work.

    Raises:
      LostError: the job can be begun again.
    """

  def ask_to_end(self) -> None:
    """Asks its process to end, a job at work with everything saved."""

  def wait(self, seconds: float) -> None:
    """Waits for the end of its process, at most so long."""

  def kill(self) -> None:
    """Ends its process with all that this has started."""


def run_jobs(jobs: Sequence[Job], slots: Sequence[Slot]) -> Generator[Ended, None, None]:
  """Runs jobs and yields each as it ends.

  They begin in their order, but that a slot prefers those that may share its process, of these
  those whose graphs it has, and of the others those whose graphs no other slot has.

  Whenever the iteration ends early (an exception, SIGTERM or Ctrl-C as exceptions, `close()`), the
  jobs at work are asked to end, which for a run means after its round and with everything saved,
  and after `GRACE_SECONDS` are made to.
  """
  turns = _Turns(jobs, slots)
  try:
    while not turns.over:
      turns.begin()
      yield from turns.ended()
      time.sleep(_LOOK_SECONDS)
  finally:
    _end(slots)


class _Turns:
  """Whose turn it is where.

  Args:
    jobs: the jobs.
    slots: where they run.
  """

  def __init__(self, jobs: Sequence[Job], slots: Sequence[Slot]):
    self._waiting = list(jobs)
    self._slots = slots
    self._working: dict[Slot, tuple[Job, float]] = {}
    self._graphs: dict[Slot, set[str]] = {slot: set() for slot in slots}
    self._losses: collections.Counter[str] = collections.Counter()

  @property
  def over(self) -> bool:
    return not (self._waiting or self._working)

  def begin(self) -> None:
    """Gives each slot that is free a job, or its rest."""
    for slot in self._slots:
      if slot in self._working:
        continue
      if not self._waiting:
        slot.kill()
      elif slot.ready:
        self._start(slot)

  def _start(self, slot: Slot) -> None:
    process, own = slot.process, self._graphs[slot]
    of_others = set().union(*(known for other, known in self._graphs.items() if other is not slot))
    job = min(
      self._waiting,
      key=lambda job: (process != job.process, job.graphs not in own, job.graphs in of_others),
    )
    self._waiting.remove(job)
    if process != job.process:
      own.clear()
    own.add(job.graphs)
    self._working[slot] = job, time.monotonic()
    slot.start(job)

  def ended(self) -> Iterator[Ended]:
    """Those that have ended since; what is lost waits for another turn."""
    for slot, (job, begin) in list(self._working.items()):
      code, lost = None, ''
      try:
        code = slot.code()
      except LostError as error:
        lost = str(error)
        self._losses[job.name] += 1
      if code is None and not lost:
        continue
      del self._working[slot]
      if lost and self._losses[job.name] <= MOST_LOSSES:
        self._waiting.insert(0, job)
      else:
        yield Ended(job, 1 if code is None else code, time.monotonic() - begin, lost)


def _end(slots: Sequence[Slot]) -> None:
  """Ends what slots are doing."""
  for slot in slots:
    slot.ask_to_end()
  deadline = time.monotonic() + GRACE_SECONDS
  try:
    for slot in slots:
      slot.wait(max(0.0, deadline - time.monotonic()))
  finally:  # A second Ctrl-C cuts the waiting short.
    for slot in slots:
      slot.kill()


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

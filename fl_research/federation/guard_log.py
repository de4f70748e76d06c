"""A guard's log: what came, what left, what was refused, and how much of it anybody can cause."""

import collections
from collections.abc import Iterator, Mapping
import contextlib
import pathlib
from typing import Any

from fl_research.federation import audit_log, quota
from fl_research.federation.refusal import Refused

HOUR = 3600.0
MOST_REFUSALS, MOST_ASKED = 200, 5000
"""Lines an hour that anybody can cause: refusals, beyond which they are counted and their number is
a line; and what is asked for, beyond which it is refused. So nobody can fill the disk."""

MOST_LINES, MOST_LINES_OF_A_ROUND = 2000, 200
"""Lines that an approved run can cause, and so many more for each of its rounds: several times what
it needs, with rounds that are asked for again after crashes. More is refused."""

_LONGEST = 1000
_REFUSED = 'refused'


class GuardLog:
  """The audit log, as a guard writes it.

  Args:
    path: of the file.

  Attributes:
    file: the log itself.
  """

  def __init__(self, path: pathlib.Path):
    self.file = audit_log.AuditLog(path)
    self._refusals, self._asked = quota.Quota(MOST_REFUSALS, HOUR), quota.Quota(MOST_ASKED, HOUR)
    self._lines: collections.Counter[str] = collections.Counter()

  @contextlib.contextmanager
  def refusals(self, run_id: str, **facts: Any) -> Iterator[None]:
    """Writes down what is refused within, with these facts."""
    try:
      yield
    except Refused as error:
      if self._refusals.take():
        # What was asked for is somebody else's text.
        said = {
          name: value[:_LONGEST] if type(value) is str else value for name, value in facts.items()
        }
        self.write(_REFUSED, run=run_id[:_LONGEST], why=str(error)[:_LONGEST], **said)
      raise

  def check_pace(self) -> None:
    """Raises `Refused` when too much was asked for in the last hour."""
    if not self._asked.take():
      raise Refused(f'more than {MOST_ASKED:,} things were asked for in an hour; ask again later')

  def check_length(self, run_id: str, rounds: int) -> None:
    """Raises `Refused` when a run of so many rounds has caused as many lines as it may."""
    most = MOST_LINES + MOST_LINES_OF_A_ROUND * rounds
    if self._lines[run_id] >= most:
      raise Refused(
        f'run {run_id[:12]} has {most:,} lines in the log, more than {rounds:,} rounds need; ask '
        'for a new run'
      )

  def write(self, what: str, **facts: Any) -> None:
    """Adds a line to the log, after one about what was refused without a line of its own."""
    self._tell_of_refusals()
    self.file.append(what, **facts)
    self.count(what, facts)

  def count(self, what: str, facts: Mapping[str, Any]) -> None:
    """Counts a line for the run that it is about; what is refused has a limit of its own, and may
    name the run of somebody else."""
    if what != _REFUSED and 'run' in facts:
      self._lines[facts['run']] += 1

  def close(self) -> None:
    """Writes down what is still to be said."""
    self._tell_of_refusals(now=True)

  def _tell_of_refusals(self, now: bool = False) -> None:
    missed = self._refusals.missed(now)
    if missed:
      self.file.append('refused without a line', count=missed)

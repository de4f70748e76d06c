"""What was admitted and has left, so far: how much of it, and with which bytes it was answered."""

from collections.abc import Iterable, Mapping
import threading
from typing import Any

from fl_research.federation import audit_log, budget, guard_log, requests
from fl_research.federation.refusal import Refused
from fl_research.registry import UsageError

Step = tuple[str, str, int]
"""A run, a kind and a round."""


class Answered:
  """What was admitted since the program started, and what was first answered ever since."""

  def __init__(self) -> None:
    self._left: dict[Step, int] = {}
    self._first: dict[Step, str] = {}
    self.lock = threading.Lock()

  def admit(self, step: Step) -> None:
    """Nothing of it has left yet."""
    with self.lock:
      self._left[step] = 0

  def check_admitted(self, run_id: str, kinds: Iterable[str], round_num: int) -> None:
    """Raises `Refused` where a kind was not admitted."""
    for kind in kinds:
      if (run_id, kind, round_num) not in self._left:
        raise Refused(f'{kind} of round {round_num} were not admitted')

  def size_with(self, step: Step, size: int, most: int) -> int:
    """The bytes that have left with these; raises `Refused` where they are more than `most`."""
    _, kind, round_num = step
    total = self._left[step] + size
    if total > most:
      raise Refused(f'{total} bytes of {kind} in round {round_num}; the request says {most}')
    return total

  def check_first(self, step: Step, content: str) -> bool:
    """Whether it is answered for the first time.

    Raises:
      Refused: it was answered with something of another hash before.
    """
    is_first = step not in self._first
    if self._first.setdefault(step, content) != content:
      raise Refused(f'round {step[2]} was answered with other bytes before')
    return is_first

  def left(self, step: Step, total: int) -> None:
    """So many bytes of it have left now."""
    self._left[step] = total

  def remember(self, entry: Mapping[str, Any]) -> None:
    """Reads what was answered from a line of the log."""
    self._first.setdefault((entry['run'], entry['kind'], entry['round']), entry['sha256'])


def from_folder(log: guard_log.GuardLog, store: requests.Store, ledger: budget.Ledger) -> Answered:
  """What the log of a folder says was answered; counts its lines.

  Raises:
    UsageError: log, budget and requests do not fit together, or the log is broken.
  """
  path = log.file.path
  fault = audit_log.verify(path)
  if not fault and not path.exists() and (store.all() or ledger.data_sets()):
    fault = 'is missing, and there are requests or a budget'
  if fault:
    raise UsageError(f'{path}: {fault}; its owner must look at it before anything is answered')
  answered, paid_in_log = Answered(), []
  for entry in audit_log.entries(path):
    log.count(entry['what'], entry)
    if entry['what'] == 'admitted' and 'epsilon' in entry:
      paid_in_log.append(entry)
    elif entry['what'] in ('leaves', 'noised'):
      answered.remember(entry)
  # Read after the log: another process may be at work, and pays before it writes.
  paid = ledger.data_sets()
  for entry in paid_in_log:
    run = paid.get(entry['data_set'], {}).get(entry['run'])
    if run is None or entry['round'] not in run.rounds:
      raise UsageError(
        f'{ledger.path}: lacks round {entry["round"]} of run {requests.short(entry["run"])}, which '
        'the log has'
      )
  return answered

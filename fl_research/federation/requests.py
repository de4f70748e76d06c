"""What a site was asked for, and what became of it: a file of JSON for each request.

A file is named by its run id, the hash of the proposal in it, and is not read when the two differ:
an approval cannot be moved to another proposal.
"""

from collections.abc import Collection
import dataclasses
import datetime
import json
import os
import pathlib

from fl_research.federation import records
from fl_research.federation.proposal import is_key, Proposal
from fl_research.federation.refusal import Refused
from fl_research.registry import UsageError
from fl_research.training import atomic_files

WAITING, APPROVED, DENIED, WITHDRAWN = 'waiting', 'approved', 'denied', 'withdrawn'
STATUSES = (WAITING, APPROVED, DENIED, WITHDRAWN)

BY_POLICY, BY_OWNER, BY_EXPERIMENTER = 'policy', 'owner', 'experimenter'
"""Who decided."""

MOST_WAITING = MOST_SETTLED = 1000
"""More requests are not kept: neither waiting, nor denied by the policy or withdrawn without that
anything was computed for them. So nobody can fill the disk."""

_SHORTEST_PREFIX = 4


def short(identifier: str) -> str:
  """The beginning of a run id or hash, for people."""
  return identifier[:12]


@dataclasses.dataclass(frozen=True)
class Request(records.Checked):
  """A proposal and what became of it.

  Attributes:
    proposal: what is asked for.
    status: one of `STATUSES`.
    by: who decided that, or let it wait.
    reasons: sentences in plain words.
    note: what the owner wrote.
    asked, decided: when, as ISO 8601 has it, in UTC.
  """

  proposal: Proposal
  status: str = dataclasses.field(metadata=records.one_of(*STATUSES))
  by: str = dataclasses.field(metadata=records.one_of(BY_POLICY, BY_OWNER, BY_EXPERIMENTER))
  reasons: tuple[str, ...] = ()
  note: str = ''
  asked: str = ''
  decided: str = ''

  @property
  def run_id(self) -> str:
    return self.proposal.run_id

  def changed(self, status: str, by: str, reasons: tuple[str, ...], note: str = '') -> 'Request':
    """The request with another status, as of now."""
    return dataclasses.replace(
      self, status=status, by=by, reasons=reasons, note=note, decided=_now()
    )


def new(proposal: Proposal, status: str, reasons: tuple[str, ...]) -> Request:
  """A request that has come in now, and what the policy made of it."""
  return Request(proposal, status, BY_POLICY, reasons, asked=_now(), decided=_now())


class Store:
  """The requests in a folder, which is made with the first of them."""

  def __init__(self, folder: pathlib.Path):
    self.folder = folder

  def put(self, request: Request) -> None:
    """Keeps a request in the place of what was there of its run.

    Raises:
      Refused: too many are waiting.
    """
    is_new = request.status == WAITING and not self.has(request.run_id)
    if is_new and sum(other.status == WAITING for other in self.all()) >= MOST_WAITING:
      raise Refused(f'{MOST_WAITING} requests are waiting already')
    self.folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps(records.to_values(request), indent=1, ensure_ascii=False)
    atomic_files.write_atomically(self._path(request.run_id), content.encode())

  def heard(self, run_id: str) -> None:
    """Something was heard of the program that made this request."""
    os.utime(self._path(run_id))

  def last_heard(self, run_id: str) -> float:
    """When that was last, or when it was made or decided on: seconds since 1970."""
    return self._path(run_id).stat().st_mtime

  def forget(self, paid: Collection[str]) -> None:
    """Removes the oldest of those that nothing came of, where there are too many.

    Args:
      paid: ids of runs for which something was computed; they stay.
    """
    if sum(1 for _ in self.folder.glob('*.json')) <= MOST_SETTLED:
      return
    settled = [
      request.run_id
      for request in self.all()
      if request.status in (DENIED, WITHDRAWN)
      and request.by != BY_OWNER
      and request.run_id not in paid
    ]
    for run_id in settled[: max(0, len(settled) - MOST_SETTLED)]:
      self._path(run_id).unlink(missing_ok=True)

  def get(self, run_id: str) -> Request:
    """The request with this run id.

    Raises:
      Refused: there is none.
      UsageError: its file is damaged.
    """
    if not is_key(run_id) or not self._path(run_id).exists():
      raise Refused(f'run {run_id[:12]} was never asked for')
    return self._read(self._path(run_id))

  def has(self, run_id: str) -> bool:
    """Whether this run was asked for."""
    return self._path(run_id).exists()

  def all(self) -> list[Request]:
    """All requests, in the order in which they were made.

    Raises:
      UsageError: a file is damaged.
    """
    found = [self._read(path) for path in self.folder.glob('*.json')]
    return sorted(found, key=lambda request: (request.asked, request.run_id))

  def find(self, beginning: str) -> Request:
    """The one request whose run id begins so.

    Raises:
      UsageError: there is none, or there are several.
    """
    names = sorted(path.stem for path in self.folder.glob('*.json'))
    found = [name for name in names if name.startswith(beginning)]
    if len(beginning) < _SHORTEST_PREFIX or not found:
      raise UsageError(f'{beginning}: no request begins so; the command requests lists them')
    if len(found) > 1:
      raise UsageError(f'{beginning}: {len(found)} requests begin so; give more of the run id')
    return self.get(found[0])

  def _path(self, run_id: str) -> pathlib.Path:
    return self.folder / f'{run_id}.json'

  def _read(self, path: pathlib.Path) -> Request:
    try:
      values = json.loads(path.read_bytes())
    except ValueError as error:
      raise UsageError(f'{path}: is not JSON ({error})') from error
    request = records.read(Request, values, str(path))
    if request.run_id != path.stem:
      raise UsageError(f'{path}: holds another proposal than the one it is named by')
    return request


def _now() -> str:
  return datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')

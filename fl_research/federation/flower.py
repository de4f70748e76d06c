"""Sites on other machines, reached through Flower: TLS, keys, and one port at the engine's side.

The engine listens on a local socket. A thin ServerApp (`flower_app.server_app`), which SuperLink
runs beside it in Flower's own environment, fetches what sites are to be asked, and brings their
replies. It may be killed and started anew at any time: it is given whatever is still open, and the
sites know by a request's id what they have answered.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import pathlib
import threading
import time
from typing import Any, NamedTuple, Optional, Union

from fl_research.federation import addresses, frames, local_socket, parcels
from fl_research.federation.request_ids import RequestIds
from fl_research.federation.traffic import Traffic
from fl_research.federation.transport import Lost
from fl_research.registry import UsageError

_LONGEST_POLL = 60.0
_SILENCE = 30.0
"""Seconds without a word from the ServerApp after which it counts as gone."""

_ABSENCE = 15.0
"""Seconds for which a site may be without its node before it counts as gone."""

_SETTLING = 8.0
"""For how many seconds nobody new must have come."""


class _Open(NamedTuple):
  """A request without a reply."""

  site: str
  request: bytes


class Flower:
  """A `Transport` through Flower.

  Args:
    address: where to listen for the ServerApp.
    awaited: names of the sites that `sites` waits for; empty for those that happen to be there.
    patience: for how many seconds it does so.
    token_file: for a port, the file of the token.
    limit: the longest message in bytes.

  Raises:
    UsageError: the address or the token cannot be used.
  """

  def __init__(
    self,
    address: addresses.Address,
    *,
    awaited: Sequence[str] = (),
    patience: float = 120.0,
    token_file: Optional[pathlib.Path] = None,
    limit: int = frames.LIMIT,
  ):
    self._awaited, self._patience, self._limit = frozenset(awaited), patience, limit
    self._changed = threading.Condition()
    self._open: dict[str, _Open] = {}
    self._answers: dict[str, Union[bytes, Lost]] = {}
    self._connected: dict[str, float] = {}
    self._heard = time.monotonic()
    self._ids = RequestIds()
    self._traffic = Traffic()
    self._operations: Mapping[str, Callable[[dict[str, Any], memoryview], bytes]] = {
      'alive': self._alive,
      'due': self._due,
      'reply': self._reply,
      'lost': self._lost,
    }
    # Labels come beside the messages.
    self._server = local_socket.Server(
      address, self._handle, token_file, limit=limit + parcels.LABEL_LIMIT, kept=0, concurrent=True
    )

  def sites(self) -> tuple[str, ...]:
    """Names of the sites that are connected, sorted, once all that are awaited are.

    Where none are awaited by name, those are meant that have come when for a while nobody else has.

    Raises:
      UsageError: a site that is awaited has not come.
    """
    with self._changed:
      if not self._awaited:
        self._wait_until_all_have_come()
        return tuple(sorted(self._connected))
      missing = lambda: sorted(self._awaited - set(self._connected))
      self._changed.wait_for(lambda: not missing(), self._patience)
      if missing():
        raise UsageError(
          f'--federation: {", ".join(missing())} not connected after {self._patience:g} s; '
          f'connected: {", ".join(sorted(self._connected)) or "no site"}'
        )
      return tuple(sorted(self._awaited))

  def _wait_until_all_have_come(self) -> None:
    self._changed.wait_for(lambda: self._connected, self._patience)
    while self._has_another(frozenset(self._connected)):
      pass

  def _has_another(self, known: frozenset[str]) -> bool:
    return bool(self._changed.wait_for(lambda: set(self._connected) - known, _SETTLING))

  def ask(
    self, requests: Mapping[str, bytes], deadline_seconds: Optional[float]
  ) -> Iterator[tuple[str, Union[bytes, Lost]]]:
    """Replies as they come; every site that is asked is among them once.

    Raises:
      UsageError: a message is too long; none was sent.
    """
    for site, request in requests.items():
      if len(request) > self._limit:
        raise UsageError(
          f'site {site}: a message of {len(request):,} bytes is too long, at most '
          f'{self._limit:,} can be sent'
        )
    began = time.monotonic()
    end = None if deadline_seconds is None else began + deadline_seconds
    waiting = {self._ids.of(site, request).hex(): site for site, request in requests.items()}
    with self._changed:
      self._open.update({key: _Open(site, requests[site]) for key, site in waiting.items()})
      self._changed.notify_all()
    try:
      while waiting:
        for key, answer in self._next(waiting, began, end).items():
          site = waiting.pop(key)
          if isinstance(answer, bytes):
            self._ids.answered(site)
          yield site, answer
    finally:
      with self._changed:
        for key in waiting:
          self._close(key)

  def _next(
    self, waiting: Mapping[str, str], began: float, end: Optional[float]
  ) -> dict[str, Union[bytes, Lost]]:
    """Answers that have come, or why there are none; waits until there is one."""
    with self._changed:
      while True:
        now = time.monotonic()
        found = {key: self._answers[key] for key in waiting if key in self._answers}
        for key, site in waiting.items():
          reason = self._missing(site, began, now)
          if end is not None and now >= end:
            reason = f'there was no reply within {end - began:g} s'
          if reason and key not in found:
            found[key] = Lost(reason)
        if found:
          for key in found:
            self._close(key)
          return found
        self._changed.wait(1.0 if end is None else min(1.0, end - now))

  def _missing(self, site: str, began: float, now: float) -> str:
    """Why a site cannot answer; '' where it may."""
    if now - max(self._heard, began) > _SILENCE:
      return f'the ServerApp has been silent for {now - self._heard:.0f} s; is SuperLink running?'
    if now - max(self._connected.get(site, began), began) > _ABSENCE:
      return 'it is not connected'
    return ''

  def _close(self, key: str) -> None:
    self._open.pop(key, None)
    self._answers.pop(key, None)

  def traffic(self) -> dict[str, dict[str, int]]:
    """Bytes of messages by site so far, see `Traffic`."""
    return self._traffic.so_far()

  def close(self) -> None:
    """Stops listening; the ServerApp waits for the next engine."""
    self._server.close()

  def _handle(self, parcel: bytes) -> bytes:
    """What the ServerApp is told."""
    label, message = parcels.unpack(parcel)
    operation = self._operations.get(label.get('operation', ''))
    if operation is None:
      raise parcels.ParcelError('the ServerApp says what this engine does not know')
    with self._changed:
      self._heard = time.monotonic()
    return operation(label, message)

  def _alive(self, label: dict[str, Any], message: memoryview) -> bytes:
    del message
    with self._changed:
      now = time.monotonic()
      self._connected = {
        # A site that is briefly away is not forgotten at once.
        **{site: seen for site, seen in self._connected.items() if now - seen < _ABSENCE},
        **{str(site): now for site in label['sites']},
      }
      self._changed.notify_all()
    return parcels.pack({})

  def _due(self, label: dict[str, Any], message: memoryview) -> bytes:
    del message
    held, wait = set(map(str, label['held'])), float(label['wait'])
    if not 0 <= wait <= _LONGEST_POLL:
      raise parcels.ParcelError(f'the ServerApp would wait {wait} s')
    with self._changed:
      fresh = lambda: [key for key in self._unanswered() if key not in held and self._is_there(key)]
      self._changed.wait_for(fresh, wait)
      keys = fresh()
      answer = {'open': self._unanswered()}
      if not keys:
        return parcels.pack(answer)
      site, request = self._open[keys[0]]
    self._traffic.down(site, len(request))
    return parcels.pack({**answer, 'id': keys[0], 'site': site}, request)

  def _unanswered(self) -> list[str]:
    return [key for key in self._open if key not in self._answers]

  def _is_there(self, key: str) -> bool:
    return self._open[key].site in self._connected

  def _reply(self, label: dict[str, Any], message: memoryview) -> bytes:
    self._answer(str(label['id']), bytes(message))
    return parcels.pack({})

  def _lost(self, label: dict[str, Any], message: memoryview) -> bytes:
    del message
    self._answer(str(label['id']), Lost(str(label['reason'])))
    return parcels.pack({})

  def _answer(self, key: str, answer: Union[bytes, Lost]) -> None:
    """Takes an answer, unless nobody waits for it any more, or there is one already."""
    with self._changed:
      if key in self._open and key not in self._answers:
        self._answers[key] = answer
        if isinstance(answer, bytes):
          self._traffic.up(self._open[key].site, len(answer))
        self._changed.notify_all()

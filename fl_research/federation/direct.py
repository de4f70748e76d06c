"""Sites on the engine's own machine, asked without anything in between."""

from collections.abc import Iterator, Mapping
import contextlib
import pathlib
import queue
import threading
import time
from typing import Optional, Union

from fl_research.federation import addresses, local_socket
from fl_research.federation.request_ids import RequestIds
from fl_research.federation.traffic import Traffic
from fl_research.federation.transport import Lost
from fl_research.registry import UsageError

_PAUSE = 0.5


class Direct:
  """A `Transport` to sites that listen on this machine.

  Args:
    sites: addresses by name.
    token_file: for ports, the file of the token, which all of them share.
    patience: for how many seconds `sites` waits for those that do not listen yet.

  Raises:
    UsageError: the token cannot be used.
  """

  def __init__(
    self,
    sites: Mapping[str, addresses.Address],
    token_file: Optional[pathlib.Path] = None,
    patience: float = 60.0,
  ):
    for address in sites.values():
      addresses.read_token(address, token_file)
    self._sites = dict(sorted(sites.items()))
    self._token_file, self._patience = token_file, patience
    self._ids = RequestIds()
    self._traffic = Traffic()

  def sites(self) -> tuple[str, ...]:
    """All names, sorted, once all of them listen.

    Raises:
      UsageError: one does not.
    """
    end = time.monotonic() + self._patience
    while missing := [name for name in self._sites if not self._listens(name)]:
      if time.monotonic() > end:
        raise UsageError(
          f'--federation: {", ".join(missing)} not listening after {self._patience:g} s'
        )
      time.sleep(_PAUSE)
    return tuple(self._sites)

  def _listens(self, name: str) -> bool:
    try:
      self._connect(name).close()
    except local_socket.Unanswered:
      return False
    return True

  def _connect(self, name: str) -> local_socket.Connection:
    return local_socket.Connection(self._sites[name], self._token_file)

  def ask(
    self, requests: Mapping[str, bytes], deadline_seconds: Optional[float]
  ) -> Iterator[tuple[str, Union[bytes, Lost]]]:
    """Replies as they come; every site that is asked is among them once."""
    end = None if deadline_seconds is None else time.monotonic() + deadline_seconds
    replies: queue.SimpleQueue[tuple[str, Union[bytes, Lost]]] = queue.SimpleQueue()
    waiting = dict(requests)
    with contextlib.ExitStack() as connections:
      for name, request in requests.items():
        try:
          connection = connections.enter_context(self._connect(name))
        except local_socket.Unanswered as error:
          replies.put((name, Lost(str(error))))
          continue
        key = self._ids.of(name, request)
        arguments = (name, connection, key, request, replies)
        threading.Thread(target=_wait, args=arguments, daemon=True).start()
        self._traffic.down(name, len(request))
      while waiting:
        try:
          left = None if end is None else max(0.0, end - time.monotonic())
          name, reply = replies.get(timeout=left)
        except queue.Empty:
          break
        del waiting[name]
        if isinstance(reply, bytes):
          self._ids.answered(name)
          self._traffic.up(name, len(reply))
        yield name, reply
    for name in waiting:
      yield name, Lost(f'there was no reply within {deadline_seconds:g} s')

  def traffic(self) -> dict[str, dict[str, int]]:
    """Bytes by site so far, see `Traffic`."""
    return self._traffic.so_far()

  def close(self) -> None:
    """Nothing is open between two requests."""


def _wait(
  name: str,
  connection: local_socket.Connection,
  key: bytes,
  request: bytes,
  replies: 'queue.SimpleQueue[tuple[str, Union[bytes, Lost]]]',
) -> None:
  try:
    replies.put((name, local_socket.wait_for_reply(connection, key, request, None)))
  except local_socket.Unanswered as error:
    replies.put((name, Lost(str(error))))

"""Requests and replies between programs of one machine: a server that stays, and how to ask it.

A request has an id, chosen by who asks. The server answers an id once: what comes again while it is
being worked on waits for the same reply, and what comes again later is given the reply that was
kept. So whoever lost a connection asks again, and nothing is computed twice. Who asks also says for
how long; when the time has passed the server says that it is still at work, and may be asked again
with the id alone.
"""

import collections
from collections.abc import Callable
import contextlib
import enum
import logging
import math
import os
import pathlib
import secrets
import socket
import struct
import threading
import time
from typing import Optional, Union

from fl_research.federation import addresses, frames

ID_BYTES = 16
PATIENCE = 60.0
"""Seconds for which one side waits for the other to say anything at all."""

_REQUEST, _AGAIN = 16, 17
_REPLY, _PENDING, _UNKNOWN, _FAILED = 32, 33, 34, 35
_HEAD = struct.Struct(f'!{ID_BYTES}sd')
_CONNECTIONS = 64
_WAITING = 16

Handler = Callable[[bytes], bytes]
"""From a request to its reply."""


class Unanswered(ConnectionError):
  """There is no reply; one line says why."""


class State(enum.Enum):
  """Why there is no reply yet."""

  PENDING = 'the server is still at work'
  UNKNOWN = 'it has started anew, or forgotten the reply: it must be given the request again'


class _Job:
  """A request and, in time, its reply; None for a reply means that the handler failed."""

  def __init__(self):
    self.done = threading.Event()
    self.reply: Optional[bytes] = None


class Server:
  """Answers requests until it is closed, whatever comes.

  What is malformed ends its connection and nothing else. A handler that fails is logged; who asked
  learns only that it failed, since an exception's text may hold what should not leave this machine.

  Args:
    address: where to listen.
    handler: gives the replies; it is called for one request at a time.
    token_file: for a port, the file of the token; it is made where there is none.
    limit: the longest message in bytes.
    kept: how many replies are kept for those who ask again.
    concurrent: whether the handler may be called by several threads at the same time.

  Raises:
    UsageError: somebody listens there already, the place cannot be used, or the token cannot.
  """

  def __init__(
    self,
    address: addresses.Address,
    handler: Handler,
    token_file: Optional[pathlib.Path] = None,
    *,
    limit: int = frames.LIMIT,
    kept: int = 2,
    concurrent: bool = False,
  ):
    if token_file is not None and not address.is_path:
      addresses.make_token(token_file)
    self._token = addresses.read_token(address, token_file)
    self._handler = handler
    self._limit = limit
    self._kept = kept
    self._turn = threading.Semaphore(_WAITING if concurrent else 1)
    self._lock = threading.Lock()
    self._jobs: collections.OrderedDict[bytes, _Job] = collections.OrderedDict()
    self._connections: set[socket.socket] = set()
    self._closed = False
    self._address = address
    self._listening = addresses.listen(address)
    self._inode = _inode(address)
    self._accepting = threading.Thread(target=self._accept, name=address.text, daemon=True)
    self._accepting.start()

  def __enter__(self) -> 'Server':
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def close(self) -> None:
    """Stops listening and ends all connections; a handler at work is not waited for."""
    with self._lock:
      if self._closed:
        return
      self._closed = True
      connections = list(self._connections)
    if self._inode is not None and _inode(self._address) == self._inode:
      pathlib.Path(str(self._address.target)).unlink()
    for connection in (self._listening, *connections):
      with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    self._accepting.join()
    self._listening.close()

  def _accept(self) -> None:
    while not self._closed:
      try:
        connection, _ = self._listening.accept()
      except OSError:
        if not self._closed:
          time.sleep(0.1)  # too many open files, perhaps; some will be closed
        continue
      with self._lock:
        welcome = not self._closed and len(self._connections) < _CONNECTIONS
        if welcome:
          self._connections.add(connection)
      if welcome:
        threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
      else:
        connection.close()

  def _serve(self, connection: socket.socket) -> None:
    try:
      connection.settimeout(PATIENCE)
      if self._token is not None:
        addresses.prove_as_server(connection, self._token)
      while frame := frames.receive(connection, self._limit + _HEAD.size):
        self._answer(connection, frame)
    except (OSError, frames.FrameError) as error:
      if not self._closed:
        logging.info('%s: a connection ended: %s', self._address.text, error)
    finally:
      with self._lock:
        self._connections.discard(connection)
      connection.close()

  def _answer(self, connection: socket.socket, frame: frames.Frame) -> None:
    if frame.kind not in (_REQUEST, _AGAIN) or len(frame.payload) < _HEAD.size:
      raise frames.FrameError(f'a frame of kind {frame.kind} has come, and no request')
    key, patience = _HEAD.unpack_from(frame.payload)
    if not math.isfinite(patience):
      raise frames.FrameError(f'a request has come that is to be waited for {patience} s')
    is_new = frame.kind == _REQUEST
    job = self._job(key, bytes(frame.payload[_HEAD.size :]) if is_new else None)
    del frame  # as large as the request
    if job is None:
      frames.send(connection, _FAILED if is_new else _UNKNOWN)
    elif not job.done.wait(min(max(patience, 0.0), PATIENCE)):
      frames.send(connection, _PENDING)
    elif job.reply is None:
      frames.send(connection, _FAILED)
    else:
      frames.send(connection, _REPLY, [job.reply])

  def _job(self, key: bytes, request: Optional[bytes]) -> Optional[_Job]:
    """The job of an id, begun if need be; None where there is none, or too many wait."""
    with self._lock:
      job = self._jobs.get(key)
      if job is not None or request is None:
        return job
      if sum(not job.done.is_set() for job in self._jobs.values()) >= _WAITING:
        logging.warning('%s: a request was refused, %d wait', self._address.text, _WAITING)
        return None
      job = self._jobs[key] = _Job()
    threading.Thread(target=self._work, args=(job, request), daemon=True).start()
    return job

  def _work(self, job: _Job, request: bytes) -> None:
    try:
      with self._turn:
        job.reply = self._handler(request)
    except Exception:  # whatever it is, the next request may do better
      logging.exception('%s: a request failed', self._address.text)
    finally:
      job.done.set()
      self._forget()

  def _forget(self) -> None:
    """Keeps the last replies only."""
    with self._lock:
      done = [key for key, job in self._jobs.items() if job.done.is_set()]
      for key in done[: max(0, len(done) - self._kept)]:
        del self._jobs[key]


def _inode(address: addresses.Address) -> Optional[tuple[int, int]]:
  """What tells a socket's file from another at the same path; None where there is none."""
  if not isinstance(address.target, pathlib.Path):
    return None
  try:
    status = os.lstat(address.target)
  except FileNotFoundError:
    return None
  return status.st_dev, status.st_ino


class Connection:
  """A connection to a `Server`.

  Args:
    address: where it listens.
    token_file: for a port, the file of the token.
    limit: the longest reply in bytes.

  Raises:
    UsageError: the token cannot be used.
    Unanswered: nobody listens there, or somebody who does not know the token.
  """

  def __init__(
    self,
    address: addresses.Address,
    token_file: Optional[pathlib.Path] = None,
    limit: int = frames.LIMIT,
  ):
    token = addresses.read_token(address, token_file)
    self._limit = limit
    try:
      # More than the server takes to say that it is still at work.
      self._socket = addresses.connect(address, token, 2 * PATIENCE)
    except (FileNotFoundError, ConnectionRefusedError) as error:
      raise Unanswered(f'nobody listens at {address.text}') from error
    except (OSError, frames.FrameError) as error:
      raise Unanswered(f'cannot connect to {address.text}: {error}') from error

  def __enter__(self) -> 'Connection':
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def close(self) -> None:
    """Ends the connection, also for a thread that waits on it."""
    with contextlib.suppress(OSError):
      self._socket.shutdown(socket.SHUT_RDWR)
    self._socket.close()

  def ask(self, key: bytes, request: Optional[bytes], patience: float) -> Union[bytes, State]:
    """What the server says to a request.

    Args:
      key: the request's id, 16 bytes.
      request: the request; None to ask after one that was sent before.
      patience: seconds after which `State.PENDING` is an answer, at most `PATIENCE`.

    Raises:
      Unanswered: the server is gone, is silent, has failed, or answers what is no reply.
    """
    head = _HEAD.pack(key, patience)
    try:
      if request is None:
        frames.send(self._socket, _AGAIN, [head])
      else:
        frames.send(self._socket, _REQUEST, [head, request])
      frame = frames.receive(self._socket, self._limit)
    except TimeoutError as error:
      raise Unanswered(f'it has been silent for {2 * PATIENCE:.0f} s') from error
    except OSError as error:
      raise Unanswered('it ended the connection') from error
    except frames.FrameError as error:
      raise Unanswered(f'its answer cannot be read: {error}') from error
    if frame is None:
      raise Unanswered('it ended the connection')
    if frame.kind == _REPLY:
      return bytes(frame.payload)
    if frame.kind == _PENDING:
      return State.PENDING
    if frame.kind == _UNKNOWN and request is None:
      return State.UNKNOWN
    raise Unanswered('it has failed; its own log says why')


def ask(
  address: addresses.Address,
  request: bytes,
  timeout: Optional[float] = None,
  token_file: Optional[pathlib.Path] = None,
) -> bytes:
  """The reply to a request, waited for.

  Args:
    address: where the server listens.
    request: the request.
    timeout: seconds to wait at most; None to wait as long as the server says that it is at work.
    token_file: for a port, the file of the token.

  Raises:
    UsageError: the token cannot be used.
    Unanswered: there is no reply, or none in time.
  """
  with Connection(address, token_file) as connection:
    return wait_for_reply(connection, new_id(), request, timeout)


def new_id() -> bytes:
  """An id that nobody else has."""
  return secrets.token_bytes(ID_BYTES)


def wait_for_reply(
  connection: Connection, key: bytes, request: bytes, timeout: Optional[float]
) -> bytes:
  """As `ask`, on a connection and with an id that there are already."""
  end = None if timeout is None else time.monotonic() + timeout
  pending: Optional[bytes] = request
  while True:
    left = PATIENCE if end is None else min(PATIENCE, end - time.monotonic())
    outcome = connection.ask(key, pending, left)
    if isinstance(outcome, bytes):
      return outcome
    if end is not None and time.monotonic() >= end:
      raise Unanswered(f'there was no reply within {timeout:g} s')
    # A server forgets what it has answered when many others ask; then it is asked anew.
    pending = request if outcome is State.UNKNOWN else None

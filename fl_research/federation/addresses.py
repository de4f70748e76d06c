"""Where a program listens for others on its own machine, and how they connect.

An address is `unix:/path` or `127.0.0.1:port`. A Unix-domain socket is a file of mode 0600, so that
only its owner (and root) can connect. To a port any user of the machine can; there both ends prove
to each other that they know a token from a file of mode 0600, without sending it: each signs (HMAC,
SHA-256) random bytes of both. Neither end says or reads anything else before that.
"""

import contextlib
import hashlib
import hmac
import os
import pathlib
import re
import secrets
import socket
import stat
from typing import NamedTuple, Optional, Union

from fl_research.federation import frames
from fl_research.registry import UsageError

_PATH_LIMIT = 107
"""Bytes that the kernel has for a socket's path."""

_NONCE = 32
_HELLO, _PROOF = 1, 2
_BACKLOG = 64


class Address(NamedTuple):
  """Where a program listens on this machine.

  Attributes:
    text: as a user writes it.
    target: the path of a Unix-domain socket, or a port of 127.0.0.1.
  """

  text: str
  target: Union[pathlib.Path, int]

  @property
  def is_path(self) -> bool:
    """Whether it is a Unix-domain socket."""
    return isinstance(self.target, pathlib.Path)


def parse(flag: str, text: str) -> Address:
  """Reads an address.

  Args:
    flag: what an error begins with, `--flag`.
    text: `unix:/path` or `127.0.0.1:port`.

  Raises:
    UsageError: it is neither, or the path is too long for a socket.
  """
  kind, _, rest = text.partition(':')
  if kind == 'unix' and rest:
    length = len(os.fsencode(rest))
    if length > _PATH_LIMIT:
      raise UsageError(
        f'{flag}={text}: the path has {length} bytes, a socket takes at most {_PATH_LIMIT}; '
        'choose a folder nearer to the root'
      )
    return Address(text, pathlib.Path(rest))
  if kind == '127.0.0.1' and re.fullmatch(r'[0-9]{1,5}', rest):
    port = int(rest)
    if 0 < port < 65536:
      return Address(text, port)
  raise UsageError(f'{flag}={text}: accepted is unix:/path/to/socket or 127.0.0.1:port')


def make_token(path: pathlib.Path) -> None:
  """Writes a new token, unless the file is there already.

  Raises:
    OSError: it cannot be written.
  """
  with contextlib.suppress(FileExistsError):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, 'w') as file:
      file.write(secrets.token_hex(32) + '\n')


def token_path(text: str) -> Optional[pathlib.Path]:
  """The file that a flag names; None where it is empty."""
  return pathlib.Path(text) if text else None


def read_token(address: Address, path: Optional[pathlib.Path]) -> Optional[bytes]:
  """The token for an address; None for a Unix-domain socket, which needs none.

  Raises:
    UsageError: a port needs a token and there is none, others may read it, or it is too short.
  """
  if address.is_path:
    return None
  if path is None:
    raise UsageError(
      f'{address.text}: any user of this machine can connect to a port, so a token file is needed; '
      'a socket (unix:/path) needs none'
    )
  try:
    mode, token = path.stat().st_mode, path.read_bytes().strip()
  except OSError as error:
    raise UsageError(f'{path}: the token cannot be read ({error.strerror})') from error
  if stat.S_IMODE(mode) & 0o077:
    raise UsageError(f'{path}: others may read this token; `chmod 600 {path}` keeps it secret')
  if len(token) < 32:
    raise UsageError(f'{path}: a token has at least 32 characters, this one has {len(token)}')
  return token


def listen(address: Address) -> socket.socket:
  """A socket that listens; the path of one that nobody listens to any more is used again.

  Raises:
    UsageError: somebody listens there, there is something else than a socket, or the place cannot
      be used.
  """
  try:
    if not isinstance(address.target, pathlib.Path):
      return socket.create_server(('127.0.0.1', address.target), backlog=_BACKLOG)
    _remove_stale(address)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(address.target))
    # Nobody can connect before it listens, so nobody was let in by the mode that it had.
    address.target.chmod(0o600)
    listening.listen(_BACKLOG)
    return listening
  except OSError as error:
    raise UsageError(f'{address.text}: cannot listen there ({error.strerror})') from error


def _remove_stale(address: Address) -> None:
  path = pathlib.Path(str(address.target))
  with contextlib.suppress(FileNotFoundError):
    if not stat.S_ISSOCK(path.lstat().st_mode):
      raise UsageError(f'{address.text}: there is a file that is no socket')
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
      probe.settimeout(1.0)
      try:
        probe.connect(str(path))
      except ConnectionRefusedError:
        path.unlink()
        return
      except TimeoutError:
        pass  # somebody listens, and is busy
    raise UsageError(f'{address.text}: another process listens there')


def connect(address: Address, token: Optional[bytes], timeout: float) -> socket.socket:
  """A connection to whoever listens at an address.

  Args:
    address: where.
    token: what both ends must know, for a port.
    timeout: seconds that anything on this connection may take.

  Raises:
    FrameError: who listens does not know the token.
    OSError: nobody listens, or the connection ended.
  """
  path = isinstance(address.target, pathlib.Path)
  connection = socket.socket(socket.AF_UNIX if path else socket.AF_INET, socket.SOCK_STREAM)
  try:
    connection.settimeout(timeout)
    connection.connect(str(address.target) if path else ('127.0.0.1', address.target))
    if token is not None:
      _prove_as_client(connection, token)
  except BaseException:
    connection.close()
    raise
  return connection


def _prove_as_client(connection: socket.socket, token: bytes) -> None:
  own = secrets.token_bytes(_NONCE)
  frames.send(connection, _HELLO, [own])
  answer = _expect(connection, _HELLO, _NONCE + hashlib.sha256().digest_size)
  nonces = own + answer[:_NONCE]
  if not hmac.compare_digest(answer[_NONCE:], _sign(token, b'server', nonces)):
    raise frames.FrameError('who listens there does not know the token')
  frames.send(connection, _PROOF, [_sign(token, b'client', nonces)])


def prove_as_server(connection: socket.socket, token: bytes) -> None:
  """The listening end of the proof that both know the token.

  Raises:
    FrameError: the other end does not know it.
    OSError: the connection ended.
  """
  other = _expect(connection, _HELLO, _NONCE)
  own = secrets.token_bytes(_NONCE)
  nonces = other + own
  frames.send(connection, _HELLO, [own, _sign(token, b'server', nonces)])
  proof = _expect(connection, _PROOF, hashlib.sha256().digest_size)
  if not hmac.compare_digest(proof, _sign(token, b'client', nonces)):
    raise frames.FrameError('who has connected does not know the token')


def _expect(connection: socket.socket, kind: int, length: int) -> bytes:
  frame = frames.receive(connection, limit=length)
  if frame is None or frame.kind != kind or len(frame.payload) != length:
    raise frames.FrameError('the other end does not prove that it knows the token')
  return bytes(frame.payload)


def _sign(token: bytes, role: bytes, nonces: bytes) -> bytes:
  return hmac.digest(token, role + nonces, 'sha256')

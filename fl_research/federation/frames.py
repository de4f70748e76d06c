"""Messages over a stream socket: how long they are is said first, and that all has come is checked.

A frame is

    magic 'FLRF' | version: 1 byte | kind: 1 byte | length: 8 bytes | payload | CRC-32: 4 bytes

with numbers in network order; the CRC-32 is of everything before it. It is there against accidents:
who may connect at all is for the socket to decide. Only the standard library is imported, since
programs of other environments read frames too.
"""

from collections.abc import Sequence
import socket
import struct
from typing import NamedTuple, Optional, Union
import zlib

LIMIT = 1 << 30
"""The longest payload in bytes, where nobody says otherwise."""

Bytes = Union[bytes, bytearray, memoryview]

_MAGIC = b'FLRF'
_VERSION = 1
_HEADER = struct.Struct('!4sBBQ')
_TRAILER = struct.Struct('!I')
_PIECE = 1 << 20


class FrameError(ValueError):
  """What has come is no frame, or only a part of one; one line says what is wrong."""


class Frame(NamedTuple):
  """What has come.

  Attributes:
    kind: what the payload is, 0 to 255; the two ends agree on a meaning.
    payload: the message.
  """

  kind: int
  payload: memoryview


def send(connection: socket.socket, kind: int, pieces: Sequence[Bytes] = ()) -> None:
  """Sends a frame.

  Args:
    connection: a stream socket.
    kind: 0 to 255.
    pieces: the payload, which is all of them one after another; none is copied as a whole.

  Raises:
    OSError: the connection is gone, or its timeout has passed.
  """
  header = _HEADER.pack(_MAGIC, _VERSION, kind, sum(map(len, pieces)))
  connection.sendall(header)
  checksum = zlib.crc32(header)
  for piece in pieces:
    view = memoryview(piece)
    for begin in range(0, len(view), _PIECE):
      part = view[begin : begin + _PIECE]
      connection.sendall(part)
      checksum = zlib.crc32(part, checksum)
  connection.sendall(_TRAILER.pack(checksum))


def receive(connection: socket.socket, limit: int = LIMIT) -> Optional[Frame]:
  """Receives a frame; None where the other end has closed the connection before one began.

  Args:
    connection: a stream socket.
    limit: the longest payload in bytes; memory is taken only after it was compared.

  Raises:
    FrameError: what comes is no frame, is longer than the limit, has changed on its way, or ends
      too early.
    OSError: the connection is gone, or its timeout has passed.
  """
  header = bytearray(_HEADER.size)
  come = _fill(connection, memoryview(header))
  if not come:
    return None
  if come < len(header):
    raise FrameError(f'the connection ended after {come} of {len(header)} bytes of a header')
  magic, version, kind, length = _HEADER.unpack(header)
  if magic != _MAGIC:
    raise FrameError(f'what has come begins with {bytes(magic)!r}, a frame with {_MAGIC!r}')
  if version != _VERSION:
    raise FrameError(f'a frame of version {version} has come, this program knows {_VERSION}')
  if length > limit:
    raise FrameError(f'a message of {length:,} bytes was announced, at most {limit:,} are accepted')
  payload = memoryview(bytearray(length))
  checksum = zlib.crc32(header)
  come = 0
  for begin in range(0, length, _PIECE):
    part = payload[begin : begin + _PIECE]
    come += _fill(connection, part)
    if come < begin + len(part):
      raise FrameError(f'the connection ended after {come:,} of {length:,} bytes of a message')
    checksum = zlib.crc32(part, checksum)
  trailer = bytearray(_TRAILER.size)
  if _fill(connection, memoryview(trailer)) < len(trailer):
    raise FrameError(f'the connection ended before the checksum of a message of {length:,} bytes')
  if _TRAILER.unpack(trailer)[0] != checksum:
    raise FrameError(f'a message of {length:,} bytes has changed on its way')
  return Frame(kind, payload)


def _fill(connection: socket.socket, buffer: memoryview) -> int:
  """Fills a buffer; gives how many bytes came before the other end closed."""
  come = 0
  while come < len(buffer):
    count = connection.recv_into(buffer[come:])
    if not count:
      break
    come += count
  return come

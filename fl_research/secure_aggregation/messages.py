"""What clients and server send each other, as bytes.

A message is a header and a body. The header is the same for all of them:

    4 bytes   'SAG1'
    1         the kind of message
    16        the session
    8         the round
    4         the client that sends it, or that it is sent to

The body is a vector, a key, a signature or a list of records of one length, each beginning with a
client's number, ascending, so that none can be there twice. Numbers are unsigned, the most
significant byte first; but for vectors, see `masks.Ring.pack`.
"""

from collections.abc import Iterable
import enum
import itertools
import struct

from fl_research.secure_aggregation import keys, shamir
from fl_research.secure_aggregation.errors import ProtocolError
from fl_research.secure_aggregation.parameters import Parameters

_MAGIC = b'SAG1'
_HEADER = struct.Struct('!4sB16sQI')
HEADER_BYTES = _HEADER.size


class Kind(enum.IntEnum):
  """The kinds of messages, in their order."""

  KEYS = 1
  ROSTER = 2
  SHARES = 3
  MAIL = 4
  MASKED = 5
  SURVIVORS = 6
  CONSENT = 7
  CONSENTS = 8
  REVEAL = 9


PUBLIC_KEYS = struct.Struct(f'!I{keys.SECRET_BYTES}s{keys.SECRET_BYTES}s')
"""In a roster: a client, its key for encryption, its key for masks."""

SIGNED_KEYS = struct.Struct(f'{PUBLIC_KEYS.format}{keys.SIGNATURE_BYTES}s')
"""The same with its signature."""

ENCRYPTED = struct.Struct(f'!I{keys.ENCRYPTION_BYTES + 2 * shamir.SHARE_BYTES}s')
"""A client that gets, or sends, two shares, and the shares."""

CLIENT = struct.Struct('!I')

CONSENT = struct.Struct(f'!I{keys.SIGNATURE_BYTES}s')
"""A client and its signature."""

REVEALED = struct.Struct(f'!IB{shamir.SHARE_BYTES}s')
"""A client, of which of its secrets, and a share."""


class Secret(enum.IntEnum):
  """The two secrets of a client."""

  MASK_KEY = 0
  SEED = 1


def write(kind: Kind, parameters: Parameters, client: int, body: bytes) -> bytes:
  """A message from a client, or to one."""
  return _header(kind, parameters, client) + body


def _header(kind: Kind, parameters: Parameters, client: int) -> bytes:
  return _HEADER.pack(_MAGIC, kind, parameters.session, parameters.round_num, client)


def sender(message: bytes) -> int:
  """The client that a message is from, or to.

  Raises:
    ProtocolError: it is too short to say so.
  """
  if len(message) < HEADER_BYTES:
    raise ProtocolError(f'a message of {len(message)} bytes is shorter than its header')
  return _HEADER.unpack_from(message)[-1]


def read(message: bytes, kind: Kind, parameters: Parameters, client: int) -> bytes:
  """The body of a message.

  Raises:
    ProtocolError: it is of another kind, session, round or client.
  """
  found = sender(message)
  magic, number, session, round_num, _ = _HEADER.unpack_from(message)
  about = f'message of client {found}'
  if magic != _MAGIC:
    raise ProtocolError(f'{about}: is none of this protocol')
  if session != parameters.session:
    raise ProtocolError(f'{about}: is of another session')
  if round_num != parameters.round_num:
    raise ProtocolError(f'{about}: is of round {round_num}, not of {parameters.round_num}')
  if number != kind:
    raise ProtocolError(f'{about}: is of kind {number}, expected is {kind.value} ({kind.name})')
  if found != client:
    raise ProtocolError(f'{about}: expected is client {client}')
  return message[HEADER_BYTES:]


def pack(record: struct.Struct, rows: Iterable[tuple]) -> bytes:
  """The records, ascending by client."""
  return b''.join(record.pack(*row) for row in sorted(rows))


def unpack(record: struct.Struct, body: bytes) -> list[tuple]:
  """The records of a body.

  Raises:
    ProtocolError: its length is no whole number of records, or clients do not ascend.
  """
  if len(body) % record.size:
    raise ProtocolError(f'a list of {len(body)} bytes is not one of {record.size} bytes each')
  rows = list(record.iter_unpack(body))
  if any(a[0] >= b[0] for a, b in itertools.pairwise(rows)):
    raise ProtocolError('a list has a client twice, or does not ascend')
  return rows

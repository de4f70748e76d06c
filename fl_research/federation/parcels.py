"""A message with a label: what the programs between engine and sites say to each other.

A parcel is the length of its label (4 bytes, network order), the label (a JSON object), and the
message, of which nobody on the way knows anything. Standard library only.
"""

from collections.abc import Mapping
import json
import struct
from typing import Any

from fl_research.federation.frames import Bytes

LABEL_LIMIT = 1 << 20
"""The longest label in bytes."""

_LENGTH = struct.Struct('!I')


class ParcelError(ValueError):
  """What has come is no parcel; one line says why."""


def pack(label: Mapping[str, Any], message: Bytes = b'') -> bytes:
  """A parcel."""
  text = json.dumps(label).encode()
  return b''.join((_LENGTH.pack(len(text)), text, message))


def unpack(parcel: Bytes) -> tuple[dict[str, Any], memoryview]:
  """Label and message of a parcel.

  Raises:
    ParcelError: it is none.
  """
  view = memoryview(parcel)
  if len(view) < _LENGTH.size:
    raise ParcelError(f'a parcel of {len(view)} bytes has no label')
  (length,) = _LENGTH.unpack_from(view)
  text = bytes(view[_LENGTH.size : _LENGTH.size + min(length, LABEL_LIMIT)])
  if len(text) < length:
    raise ParcelError(f'a label of {length:,} bytes was announced, {len(text):,} have come')
  try:
    label = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise ParcelError('the label of a parcel is no JSON') from error
  if not isinstance(label, dict):
    raise ParcelError('the label of a parcel is no JSON object')
  return label, view[_LENGTH.size + length :]

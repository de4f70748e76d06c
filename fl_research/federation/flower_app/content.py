"""What a Flower message holds: a label, and the bytes of a message as one array.

Flower cuts arrays into pieces of a few megabytes on the wire, so that no piece is too large for it.
"""

from collections.abc import Mapping
import json
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

_LABEL, _MESSAGE = 'label', 'message'


def pack(label: Mapping[str, Any], message: bytes = b'') -> RecordDict:
  """The content of a Flower message."""
  content = RecordDict({_LABEL: ConfigRecord({'json': json.dumps(label)})})
  if message:
    array = Array(dtype='uint8', shape=(len(message),), stype='bytes', data=message)
    content[_MESSAGE] = ArrayRecord({_MESSAGE: array})
  return content


def unpack(content: RecordDict) -> tuple[dict[str, Any], bytes]:
  """Label and message of a Flower message's content.

  Raises:
    KeyError, TypeError, ValueError: the content is not one that `pack` makes.
  """
  label = json.loads(content.config_records[_LABEL]['json'])
  if not isinstance(label, dict):
    raise ValueError('the label is no JSON object')
  record = content.array_records.get(_MESSAGE)
  return label, b'' if record is None else record[_MESSAGE].data

"""What engine and sites tell each other: a kind, a few facts, and arrays, as bytes.

A message is an uncompressed npz archive. Its member `message` is JSON, `{"kind": …, "fields": …}`;
all others are arrays. Every kind has a form: which fields there are and of what type, and which
arrays; what differs from it is refused before anybody looks at it. Nothing is ever unpickled, and
nothing is larger in memory than it was on the wire.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import io
import json
import math
import re
import struct
from typing import Any, IO, Literal
import zipfile

import numpy as np

PROTOCOL = 5
"""The version of these messages; engine and site must have the same.

How tensors lie in them is part of it: a site puts its clients' values side by side for the engine's
graphs as its own `runtime.layouts` says.
"""

LIMIT = 1 << 30
"""The largest message, in bytes, where nobody says otherwise."""

_HEAD = 'message'
_HEAD_LIMIT = 1 << 24
_MOST_ARRAYS = 100_000
_ARRAY_HEAD = re.compile(
  r"\{'descr': '([<>|]\w+)', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), \} *\n",
  re.ASCII,
)
"""How `np.save` describes an array: its type, whether it lies by columns, its shape."""


class MessageError(ValueError):
  """What has arrived is no message; one line says why."""


@dataclasses.dataclass(frozen=True)
class Form:
  """What a kind of message holds.

  Attributes:
    fields: types by name; all of them must be there, and no other.
    arrays: the groups of its arrays, `group/0`, `group/1`, ….
  """

  fields: Mapping[str, type] = dataclasses.field(default_factory=dict)
  arrays: tuple[str, ...] = ()


FORMS: Mapping[str, Form] = {
  # Engine to site.
  'hello': Form({'protocol': int}),
  'statistics': Form({'what': str, 'facts': dict}, ('numbers',)),
  'describe': Form({'shared': dict}),
  'propose': Form({'proposal': str, 'signature': str}),
  'begin': Form({'run': str, 'run_facts': dict, 'resumed': dict}, ('clients', 'initial_state')),
  'graph': Form({'run': str, 'graph': dict}, ('library', 'captured')),
  'work': Form(
    {'run': str, 'graph': str, 'round': int, 'applied': dict, 'hold': bool},
    ('server', 'clients', 'epochs'),
  ),
  'combine': Form({'run': str, 'graph': str, 'round': int, 'session': dict}, ('server',)),
  'session': Form({'run': str, 'round': int, 'step': int}, ('payload',)),
  'evaluate': Form({'run': str, 'graph': str, 'round': int, 'applied': dict}, ('server',)),
  'commit': Form({'run': str, 'round': int, 'applied': dict}),
  'advance': Form({'run': str, 'round': int, 'oldest': int}),
  'withdraw': Form({'run': str, 'is_over': bool}),
  # Site to engine.
  'site': Form(
    {'protocol': int, 'name': str, 'statistics': list, 'signs': bool, 'sums_by_protocol': bool}
  ),
  'numbers': Form({'facts': dict}, ('numbers',)),
  'data': Form({'spec': dict, 'facts': dict, 'ids': list}, ('sizes', 'test_sizes')),
  'answer': Form({'status': str, 'reasons': list, 'withheld': list}),
  'done': Form({'known_by': str}),
  'needs': Form({'what': str}),
  'sent': Form({'round': int}, ('clients', 'sent')),
  'held': Form({'round': int}, ('clients',)),
  'combined': Form({'round': int}, ('sent',)),
  'stepped': Form({'round': int}, ('payload',)),
  'evaluated': Form({'round': int}, ('sizes', 'sums', 'metrics', 'further')),
  'refused': Form({'reason': str}),
}
"""All kinds of messages."""


@dataclasses.dataclass(frozen=True)
class Message:
  """A message.

  Attributes:
    kind: one of `FORMS`.
    fields: its facts, as JSON has them.
    arrays: its arrays, by group.
  """

  kind: str
  fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  arrays: Mapping[str, Sequence[np.ndarray]] = dataclasses.field(default_factory=dict)

  def __getitem__(self, name: str) -> Any:
    """A field."""
    return self.fields[name]

  def array(self, group: str) -> np.ndarray:
    """The only array of a group.

    Raises:
      MessageError: there is another number of them.
    """
    found = self.arrays[group]
    if len(found) != 1:
      raise MessageError(f'{self.kind}: {len(found)} arrays of {group}, expected 1')
    return found[0]


def pack(message: Message) -> bytes:
  """A message as bytes."""
  head = json.dumps({'kind': message.kind, 'fields': message.fields}, allow_nan=False)
  arrays = {_HEAD: np.frombuffer(head.encode(), np.uint8)}
  for group, members in message.arrays.items():
    arrays.update((f'{group}/{number}', array) for number, array in enumerate(members))
  buffer = io.BytesIO()
  np.savez(buffer, **arrays)
  return buffer.getvalue()


def unpack(data: bytes, limit: int = LIMIT) -> Message:
  """The message that these bytes are.

  Args:
    data: what has arrived.
    limit: the most bytes that are looked at.

  Raises:
    MessageError: they are none, or of no known form.
  """
  if len(data) > limit:
    raise MessageError(f'a message of {len(data)} bytes; accepted are {limit}')
  try:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
      arrays = _arrays(archive, len(data))
  except (
    zipfile.BadZipFile,
    ValueError,
    EOFError,
    OSError,
    KeyError,
    NotImplementedError,
  ) as error:
    raise MessageError(f'not a message ({str(error)[:200]})') from error
  except (RuntimeError, TypeError, MemoryError, OverflowError, struct.error) as error:
    raise MessageError(f'not a message ({type(error).__name__})') from error
  kind, fields = _head(arrays.pop(_HEAD, None))
  form = FORMS.get(kind)
  if form is None:
    raise MessageError(f'a message of unknown kind {kind[:40]!r}')
  _check_fields(kind, form, fields)
  return Message(kind, fields, _groups(kind, form, arrays))


def _arrays(archive: zipfile.ZipFile, size: int) -> dict[str, np.ndarray]:
  members = archive.infolist()
  if len(members) > _MOST_ARRAYS or any(m.compress_type != zipfile.ZIP_STORED for m in members):
    raise ValueError('it is compressed, or of too many parts')
  if sum(member.file_size for member in members) > size:
    raise ValueError('its parts are larger than it is')
  arrays = {}
  for member in members:
    with archive.open(member) as file:
      arrays[member.filename.removesuffix('.npy')] = _array(file)
  if len(arrays) != len(members):
    raise ValueError('two parts of one name')
  return arrays


def _array(file: IO[bytes]) -> np.ndarray:
  """An array, for which no more memory is taken than its bytes need."""
  if np.lib.format.read_magic(file) != (1, 0):
    raise ValueError('an array of another version')
  shape, order, dtype = _array_head(file)
  if dtype.kind not in 'iufb':
    raise ValueError(f'an array of {dtype}')
  content = file.read()
  if len(content) != math.prod(shape) * dtype.itemsize:
    raise ValueError('an array of another size than its head says')
  return np.frombuffer(content, dtype).reshape(shape, order=order)


def _array_head(file: IO[bytes]) -> tuple[tuple[int, ...], Literal['C', 'F'], np.dtype]:
  """Shape, order and type of an array.

  NumPy has Python parse them, and CPython 3.11 fails at times where two threads parse at once
  (python/cpython issue 106905), as engine and sites would.
  """
  (size,) = struct.unpack('<H', file.read(2))
  found = _ARRAY_HEAD.fullmatch(file.read(size).decode('latin-1'))
  if found is None:
    raise ValueError('an array whose head is not one')
  descr, by_column, shape = found.groups()
  sizes = tuple(int(part) for part in shape.split(',') if part.strip())
  return sizes, 'F' if by_column == 'True' else 'C', np.dtype(descr)


def _head(array: Any) -> tuple[str, dict[str, Any]]:
  if array is None or array.dtype != np.uint8 or array.ndim != 1 or array.size > _HEAD_LIMIT:
    raise MessageError('a message without a head')
  try:
    head = json.loads(array.tobytes())
  except (ValueError, RecursionError) as error:
    raise MessageError('a message whose head is not JSON') from error
  if not isinstance(head, dict) or set(head) != {'kind', 'fields'}:
    raise MessageError('a message whose head is not one')
  if not isinstance(head['kind'], str) or not isinstance(head['fields'], dict):
    raise MessageError('a message whose head is not one')
  return head['kind'], head['fields']


def _check_fields(kind: str, form: Form, fields: Mapping[str, Any]) -> None:
  if set(fields) != set(form.fields):
    raise MessageError(f'{kind}: has the fields {sorted(fields)}, expected {sorted(form.fields)}')
  for name, wanted in form.fields.items():
    if type(fields[name]) is not wanted:
      found = type(fields[name]).__name__
      raise MessageError(f'{kind}: {name} is {found}, expected {wanted.__name__}')


def _groups(kind: str, form: Form, arrays: Mapping[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
  groups: dict[str, list[np.ndarray]] = {group: [] for group in form.arrays}
  found = dict(arrays)
  for group, members in groups.items():
    while (array := found.pop(f'{group}/{len(members)}', None)) is not None:
      members.append(array)
  if found:
    raise MessageError(f'{kind}: has arrays {sorted(found)[:3]} that do not belong there')
  return groups


def refused(reason: str) -> Message:
  """Says no."""
  return Message('refused', {'reason': reason})

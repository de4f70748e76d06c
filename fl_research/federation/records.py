"""Dataclasses that check themselves, and their way from and to JSON and TOML.

A field's domain is its metadata: `dataclasses.field(metadata=domains.COUNT)`.

What comes from elsewhere is taken only as it was agreed on: each field of its type and within its
domain, none missing, none that is not known. A mistake is one line that names where it is:
`policy.toml: training.most_rounds is -3; accepted is an integer of at least 1`.
"""

from collections.abc import Mapping
import dataclasses
import math
import types
import typing
from typing import Any, TypeVar, Union

from fl_research import domains, registry
from fl_research.registry import UsageError

Record = TypeVar('Record')
_SCALARS = {bool: 'true or false', int: 'an integer', float: 'a number', str: 'a text'}


def one_of(*words: str) -> domains.Domain:
  """The domain of these words, as a field's metadata."""
  return {'valid': lambda v: v in words, 'domain': ' or '.join(words)}


class Checked:
  """A frozen dataclass whose fields are of their types and within their domains.

  Raises:
    UsageError: when it is made and one is not.
  """

  def __post_init__(self):
    hints = _hints(type(self))
    for own in dataclasses.fields(self):  # type: ignore[arg-type]
      value = _converted(hints[own.name], getattr(self, own.name), own.name)
      _check_domain(own, value)
      object.__setattr__(self, own.name, value)


def read(kind: type[Record], values: Any, where: str) -> Record:
  """The record that a table of JSON or TOML describes.

  Args:
    kind: its class, a `Checked` dataclass.
    values: the table.
    where: begins the message when it is none.

  Raises:
    UsageError: it is no such table.
  """
  try:
    return _record(kind, values, '')
  except UsageError as error:
    raise UsageError(f'{where}: {error}') from error


def to_values(record: Any) -> dict[str, Any]:
  """The record as JSON and TOML have it."""
  return {own.name: _plain(getattr(record, own.name)) for own in dataclasses.fields(record)}


def _hints(kind: type) -> dict[str, Any]:
  return typing.get_type_hints(kind)


def _record(kind: type[Record], values: Any, path: str) -> Record:
  if not isinstance(values, Mapping):
    raise UsageError(f'{path or "all of it"} is not a table')
  hints = _hints(kind)
  fields = {own.name: own for own in dataclasses.fields(kind)}  # type: ignore[arg-type]
  made = {}
  for name, value in values.items():
    if name not in fields:
      hint = registry.suggestion(str(name), fields)
      raise UsageError(f'{_join(path, name)} is not known{hint}; known are {", ".join(fields)}')
    made[name] = _converted(hints[name], value, _join(path, name))
    _check_domain(fields[name], made[name], path)
  for name, own in fields.items():
    has_none = own.default is own.default_factory is dataclasses.MISSING
    if name not in values and has_none:
      raise UsageError(f'{_join(path, name)} is missing')
  try:
    return kind(**made)
  except UsageError as error:
    raise UsageError(f'{path}: {error}' if path else str(error)) from error


def _check_domain(own: dataclasses.Field, value: Any, path: str = '') -> None:
  valid = own.metadata.get('valid')
  if valid is not None and value is not None and not valid(value):
    raise UsageError(
      f'{_join(path, own.name)} is {_shown(value)}; accepted is {own.metadata["domain"]}'
    )


def _converted(hint: Any, value: Any, path: str) -> Any:
  """The value as a field of this type has it."""
  origin, arguments = typing.get_origin(hint), typing.get_args(hint)
  if origin in (Union, types.UnionType):
    inner = next(argument for argument in arguments if argument is not type(None))
    return None if value is None else _converted(inner, value, path)
  if dataclasses.is_dataclass(hint):
    return value if isinstance(value, typing.cast(type, hint)) else _record(hint, value, path)
  if origin is tuple:
    if not isinstance(value, (list, tuple)):
      raise UsageError(f'{path} is {_shown(value)}; accepted is a list')
    return tuple(
      _converted(arguments[0], item, f'{path}[{place}]') for place, item in enumerate(value)
    )
  if origin is not None:
    if not isinstance(value, Mapping):
      raise UsageError(f'{path} is {_shown(value)}; accepted is a table')
    if not all(isinstance(key, str) for key in value):
      raise UsageError(f'{path} has a key that is no text')
    return {key: _converted(arguments[1], item, _join(path, key)) for key, item in value.items()}
  return _scalar(hint, value, path)


def _scalar(hint: Any, value: Any, path: str) -> Any:
  if hint is Any:
    if value is not None and type(value) not in _SCALARS:
      raise UsageError(f'{path} is {_shown(value)}; accepted is a text, a number, true or false')
    hint = type(value)
  if hint is float and type(value) is int and abs(value) < 2**1000:
    value = float(value)
  if type(value) is not hint:
    raise UsageError(f'{path} is {_shown(value)}; accepted is {_SCALARS[hint]}')
  if hint is float and not math.isfinite(value):
    raise UsageError(f'{path} is {value}; accepted is a finite number')
  if hint is str and any('\ud800' <= character <= '\udfff' for character in value):
    raise UsageError(f'{path} is no text of Unicode')
  return value


def _plain(value: Any) -> Any:
  if dataclasses.is_dataclass(value):
    return to_values(value)
  if isinstance(value, tuple):
    return [_plain(item) for item in value]
  if isinstance(value, Mapping):
    return {key: _plain(item) for key, item in value.items()}
  return value


def _join(path: str, name: Any) -> str:
  return f'{path}.{name}' if path else str(name)


def _shown(value: Any) -> str:
  text = repr(value)
  return text if len(text) <= 60 else text[:57] + '...'

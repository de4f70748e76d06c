"""How a section of the settings says what its flags are."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, Optional


def settings_of(group: str) -> Callable[..., Any]:
  """What makes the settings of a section, `group` being its heading in `--help`."""
  return functools.partial(_setting, group)


def _setting(
  group: str,
  default: Any,
  help: str,
  *,
  choices: Optional[Callable[[], Any]] = None,
  besides: Optional[Callable[[str], bool]] = None,
  valid: Optional[Callable[[Any], bool]] = None,
  domain: str = '',
  identity: bool = True,
  optional: Optional[type] = None,
):
  """A setting: its default, its line of help, and what it may be.

  `besides` says which values are accepted that are none of the choices; `identity` is False for
  settings that cannot change what a run computes; `optional` is the type of a setting whose default
  is None.
  """
  metadata = {
    'help': help,
    'group': group,
    'choices': choices,
    'besides': besides,
    'valid': valid,
    'domain': domain,
    'identity': identity,
    'type': optional or type(default),
  }
  return dataclasses.field(default=default, metadata=metadata)

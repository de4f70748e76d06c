"""Protocols as Python 3.12 has them: what one asks for is found once.

Python 3.11 finds anew in every `isinstance(value, protocol)` which members a `typing.Protocol` has.
TensorFlow and TFF ask it of every tensor and every type, which made a tenth of the time in which a
round is composed and compiled.
"""

import functools
import typing


def remember() -> None:
  """Has Python keep what it finds of a protocol; calling it again changes nothing."""
  for name in ('_get_protocol_attrs', '_is_callable_members_only'):
    find = getattr(typing, name)
    if not hasattr(find, 'cache_info'):
      setattr(typing, name, functools.cache(find))

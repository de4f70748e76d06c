"""Whatever is remembered of protocols, values are of those that they were of."""

import typing

from fl_research import protocols


@typing.runtime_checkable
class Named(typing.Protocol):
  """Asks for a member that is no method."""

  name: str


@typing.runtime_checkable
class Closing(typing.Protocol):
  """Asks for a method."""

  def close(self): ...


@typing.runtime_checkable
class Both(Named, Closing, typing.Protocol):
  """Asks for both."""


class File:
  """Has both, in one of its instances."""

  def close(self):
    pass


def _found():
  bare, named = File(), File()
  named.name = 'x'
  values = (bare, named, 3)
  return [[isinstance(value, kind) for kind in (Named, Closing, Both)] for value in values]


def test_values_are_of_the_protocols_they_were_of():
  protocols.remember()
  before = typing._get_protocol_attrs.cache_info()
  expected = [[False, True, False], [True, True, True], [False, False, False]]
  assert _found() == expected
  assert _found() == expected
  after = typing._get_protocol_attrs.cache_info()
  assert after.misses - before.misses <= 3 < after.hits - before.hits


def test_a_second_call_changes_nothing():
  protocols.remember()
  first = typing._get_protocol_attrs, typing._is_callable_members_only
  protocols.remember()
  assert (typing._get_protocol_attrs, typing._is_callable_members_only) == first

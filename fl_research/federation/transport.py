"""The way from the engine to the sites, as the engine sees it."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Optional, Protocol, Union


class Lost(NamedTuple):
  """A site that has not answered.

  Attributes:
    reason: why, in words.
  """

  reason: str


class Transport(Protocol):
  """Carries messages, of which it knows nothing."""

  def sites(self) -> tuple[str, ...]:
    """Names of those there now, sorted."""

  def ask(
    self, requests: Mapping[str, bytes], deadline_seconds: Optional[float]
  ) -> Iterator[tuple[str, Union[bytes, Lost]]]:
    """Replies as they come; every site that is asked is among them once."""

  def traffic(self) -> dict:
    """Bytes up and down by site so far."""

  def close(self) -> None:
    """Ends the connection."""

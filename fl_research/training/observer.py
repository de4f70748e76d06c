"""What the training loop tells the outside, and may hear from it."""

from typing import Any


class Observer:
  """One who is told; what a subclass does not care for passes it by."""

  def row(self, row: dict[str, Any]) -> None:
    """Takes every row of metrics.csv."""

  def client_rows(self, rows: list[dict[str, Any]]) -> None:
    """Takes rows of clients.csv."""

  def complaint(self, line: str) -> None:
    """Takes a line about something that goes wrong without ending the run."""

  def checkpoint(self, progress: Any) -> None:
    """Takes the loop's progress whenever it should be saved; those before in the list come first.

    All rows up to the round of `progress` have been told.
    """

  def reason_to_pause(self) -> str:
    """Asked after each evaluation or round; empty to go on."""
    return ''

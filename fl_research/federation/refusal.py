"""What a site answers to a request that its owner's rules do not let through."""

from fl_research.registry import UsageError


class Refused(UsageError):
  """The site does not do what it was asked; the message is one line that says why."""

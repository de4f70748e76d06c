"""The steps of a session."""

import enum


class Step(enum.IntEnum):
  """What a client does next, and the server waits for."""

  ADVERTISE = 0
  SHARE = 1
  MASK = 2
  CONSENT = 3
  REVEAL = 4
  DONE = 5
  REFUSED = 6


def after(step: Step, signed: bool) -> Step:
  """The step after another; unsigned sessions leave out CONSENT."""
  following = Step(step + 1)
  return Step.REVEAL if following is Step.CONSENT and not signed else following

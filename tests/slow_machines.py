"""Limits of time that hold on machines slower than the ones they were found on."""

import time

_SECONDS = 0.06
"""What the loop below takes at most on a machine for which the limits are as they stand."""


def seconds(limit: float) -> float:
  """A limit of processor time, as much longer as this machine is slower just now."""
  return limit * max(1.0, min(_loop() for _ in range(3)) / _SECONDS)


def _loop() -> float:
  begin, total = time.process_time(), 0
  for number in range(1_000_000):
    total += number * number
  return time.process_time() - begin

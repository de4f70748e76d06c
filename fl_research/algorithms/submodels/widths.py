"""Widths of models, and shares of clients, as flags have them: numbers separated by commas."""

import itertools
import math


def numbers(text: str) -> tuple[float, ...]:
  """`'1,0.5'` as numbers; none where one of them is none."""
  try:
    return tuple(float(part) for part in text.split(',')) if text else ()
  except ValueError:
    return ()


def are_widths(text: str) -> bool:
  """Whether they are from (0, 1], the largest first."""
  widths = numbers(text)
  return bool(widths) and all(0 < w <= 1 for w in widths) and _falls(widths)


def _falls(widths: tuple[float, ...]) -> bool:
  return all(wide > narrow for wide, narrow in itertools.pairwise(widths))


def are_shares(text: str) -> bool:
  """Whether they are above 0 and add up to 1, or there are none."""
  shares = numbers(text)
  return not text or (all(s > 0 for s in shares) and math.isclose(sum(shares), 1, abs_tol=1e-6))

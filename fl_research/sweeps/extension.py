"""Extending a grid beyond the edge at which its best cell lies.

A list goes on as it was written: 0.1, 0.2, 0.4 by factors, 1, 2, 3 by differences where they are
all the same. Whole numbers stay whole, and positive ones positive.
"""

from collections.abc import Mapping, Sequence
import itertools
import math

Axis = tuple[str, list[str]]
"""A flag, and its values as on the command line."""


def extended(axes: Sequence[Axis], edges: Mapping[str, str]) -> list[Axis]:
  """The axes, each with one value more where the best lies at its edge.

  Args:
    axes: of the grid.
    edges: flag -> `smallest` or `largest`, as `selection.edges` gives them; flags of no axis, and
      values that nothing follows, are left as they are.
  """
  return [(name, _longer(values, edges.get(name, ''))) for name, values in axes]


def _longer(values: list[str], side: str) -> list[str]:
  if not side:
    return values
  beyond = following(sorted(map(float, values), reverse=side == 'smallest'))
  whole = all('.' not in value and 'e' not in value.lower() for value in values)
  if beyond is not None and whole and abs(beyond) >= 1:
    beyond = float(round(beyond))
  if beyond is None or beyond in map(float, values):
    return values
  new = f'{beyond:.6g}'
  return [new, *values] if side == 'smallest' else [*values, new]


def following(numbers: Sequence[float]) -> float | None:
  """The number that goes on with a rising or a falling sequence; None when there is none.

  Args:
    numbers: at least two, all different.
  """
  before, last = numbers[-2:]
  differences = [b - a for a, b in itertools.pairwise(numbers)]
  even = len(numbers) > 2 and all(math.isclose(d, differences[0]) for d in differences)
  positive = min(numbers) > 0
  if positive and not even:
    return last * last / before
  beyond = last + differences[-1]
  return None if positive and beyond <= 0 else beyond

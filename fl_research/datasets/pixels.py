"""What is a picture, and how its levels become numbers from 0 to 1."""

from collections.abc import Mapping
import math
from typing import Any, Optional

import numpy as np

_SMALLEST_SIDE = 4
_CHANNELS = (1, 3, 4)
_SMALLEST_FLAT_SIDE = 16
LEVELS = 255


def is_picture(shape: tuple[int, ...]) -> bool:
  """Whether an example of this shape looks like [height, width] or [height, width, channels]."""
  return (
    len(shape) in (2, 3)
    and min(shape[:2]) >= _SMALLEST_SIDE
    and (len(shape) == 2 or shape[2] in _CHANNELS)
  )


def shape_of_flat(count: int) -> Optional[tuple[int, int, int]]:
  """The square picture, grey or else in three colours, of so many numbers; None if there is none.

  None below 16 x 16 too: rows of so few numbers are rather features.
  """
  for channels in (1, 3):
    side = math.isqrt(count // channels)
    if side * side * channels == count and side >= _SMALLEST_FLAT_SIDE:
      return side, side, channels
  return None


def scaled(levels: np.ndarray) -> np.ndarray:
  """Levels from 0 to 255 as float32 from 0 to 1."""
  return np.divide(levels, LEVELS, dtype=np.float32)


def preprocessing(shape: tuple[int, ...]) -> Mapping[str, Any]:
  """What a run keeps, to scale new pictures likewise."""
  return {'kind': 'pixels', 'shape': list(shape), 'divided_by': LEVELS}

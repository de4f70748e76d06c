"""Who can be drawn: some positions, or all of them without an array that holds each."""

from typing import Any, Union

import numpy as np


class Everybody:
  """All positions of a population, as an array of them would be, but for its memory."""

  def __init__(self, count: int):
    self._count = count

  def __len__(self) -> int:
    return self._count

  def __array__(self, dtype: Any = None) -> np.ndarray:
    return np.arange(self._count, dtype=dtype)

  def __getitem__(self, chosen: np.ndarray) -> np.ndarray:
    return np.flatnonzero(chosen) if chosen.dtype == bool else chosen


Eligible = Union[np.ndarray, Everybody]

"""What arrays look like that they do not say: pictures with colours first, classes one-hot, …"""

from collections.abc import Iterator
from typing import Optional

import numpy as np

from fl_research.datasets.federated_data import Examples, Problem
from fl_research.registry import UsageError

_LARGE = 10.0
_FEW = 20
_COLOURS = (1, 3)
_SMALLEST_SIDE = 8
_MANY_CLASSES = 1000


def of(examples: Examples, problem: Problem) -> Iterator[str]:
  """A line for each doubt about some examples, as a model would take them."""
  x, y = examples['x'], examples['y']
  if problem is not Problem.NEXT_TOKEN and x.size and np.abs(x).mean(dtype=np.float64) > _LARGE:
    yield (
      f'x goes from {x.min():g} to {x.max():g} and is taken as it is; models learn from numbers '
      'around 1, so divide or standardise it'
    )
  if colours := _colours_first(x.shape[1:]):
    yield (
      f'x is [n, {", ".join(map(str, x.shape[1:]))}]: pictures have their {colours} last, where '
      'np.moveaxis(x, 1, -1) puts them'
    )
  if problem is Problem.MULTILABEL and (y.sum(axis=1) == 1).all() and (y.max(axis=1) == 1).all():
    yield 'each row of y has exactly one tag; if they are classes, save y.argmax(axis=1)'
  few = y.ndim == 1 and len(np.unique(y)) <= min(_FEW, len(y) / 2)
  if problem is Problem.REGRESSION and few and (y == np.floor(y)).all():
    yield (
      'y are whole numbers of a type for fractions, taken for a quantity; if they are classes, '
      'save y.astype(int)'
    )


def check_classes(num_classes: int, problem: Problem, rows: int, where: str) -> None:
  """Refuses whole numbers that are rather quantities or ids than classes.

  Raises:
    UsageError: there are by far more classes than examples.
  """
  if problem is Problem.CLASSIFICATION and num_classes > max(_MANY_CLASSES, 10 * rows):
    raise UsageError(
      f'{where}: y goes up to {num_classes - 1} in {rows} rows, which are no classes; number '
      'classes 0, 1, 2, …, and save quantities as fractions, y.astype(np.float32)'
    )


def _colours_first(shape: tuple[int, ...]) -> Optional[str]:
  if len(shape) != 3 or shape[0] not in _COLOURS or shape[2] in (1, 3, 4):
    return None
  return 'channels' if shape[1] == shape[2] >= _SMALLEST_SIDE else None

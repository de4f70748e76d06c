"""New examples that are arrays, as a run's model takes them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fl_research.models.specification import ModelSpec
from fl_research.registry import UsageError


def to_x(
  given: np.ndarray, spec: ModelSpec, preprocessing: Mapping[str, Any], where: str
) -> np.ndarray:
  """Examples [n, …] as x.

  Args:
    given: of the shape that the training data had; grey pictures with an axis of channels or none.
      Where the run divided whole numbers (levels of pictures), so are these; fractions are not.
    spec, preprocessing: of the run's data.
    where: begins the message of an error.

  Raises:
    UsageError: they have another shape, or levels that cannot be.
  """
  x = given[..., None] if (*given.shape[1:], 1) == spec.input_shape else given
  if not x.ndim or x.shape[1:] != spec.input_shape:
    raise UsageError(
      f'{where}: x has examples of shape {list(x.shape[1:])}; the model takes '
      f'{list(spec.input_shape)}'
    )
  if x.dtype.kind not in 'biuf':
    raise UsageError(f'{where}: x holds {x.dtype} values, not numbers')
  divisor = preprocessing.get('divided_by', 1)
  if divisor == 1:
    return x.astype(spec.x_dtype)
  if x.dtype.kind != 'f':
    return x.astype(spec.x_dtype) / np.asarray(divisor, spec.x_dtype)
  if len(x) and not (x.min() >= 0 and x.max() <= 1):
    raise UsageError(
      f'{where}: x goes from {x.min():g} to {x.max():g}; expected are whole numbers from 0 to '
      f'{divisor}, or fractions from 0 to 1'
    )
  return x.astype(spec.x_dtype)

"""New examples that are arrays, as a run's model takes them.

They come as .npz, LEAF's JSON or TFF's HDF5 and SQLite, whatever form the run had.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Optional

import numpy as np

from fl_research.importing import forms, leaf, tff_files
from fl_research.models.specification import ModelSpec
from fl_research.registry import UsageError

Arrays = tuple[dict[str, Any], np.ndarray, Optional[np.ndarray]]
"""What the answers are put beside (a value for all), x [n, …] and, where it was asked for, y."""


def read(
  path: str, spec: ModelSpec, preprocessing: Mapping[str, Any], labels: bool
) -> Iterator[Arrays]:
  """The arrays of a file, those of a client at a time where it has clients.

  Args:
    path: the file, or a folder of LEAF's or TFF's.
    spec, preprocessing: of the run's data.
    labels: whether y is asked for.

  Raises:
    UsageError: it is of none of these forms, or has no such arrays; one line.
  """
  task = 'npz' if path.endswith('.npz') else forms.find(path).task
  if task == 'leaf':
    yield from _of_leaf(path, spec, labels)
  elif task == 'tff_files':
    yield from _of_tff(path, spec, preprocessing, labels)
  else:
    yield ({}, *_of_npz(path, spec, labels))


def _of_leaf(path: str, spec: ModelSpec, labels: bool) -> Iterator[Arrays]:
  for client, x, y in leaf.new(path):
    where = f'--data_file={path}: user {client}'
    if labels and y is None:
      raise UsageError(f'{where} has no y')
    try:
      yield {'client': client}, _shaped(np.array(x), spec), np.array(y) if labels else None
    except ValueError as error:
      raise UsageError(f'{where} has x or y that are not all of one shape') from error


def _of_tff(
  path: str, spec: ModelSpec, preprocessing: Mapping[str, Any], labels: bool
) -> Iterator[Arrays]:
  x_name, y_name = preprocessing.get('feature', 'x'), preprocessing.get('label', 'label')
  for client, features in tff_files.new(path, [x_name, *[y_name] * labels]):
    y = features[y_name] if labels else None
    yield {'client': client}, _shaped(features[x_name], spec), y


def _of_npz(path: str, spec: ModelSpec, labels: bool) -> tuple[np.ndarray, Optional[np.ndarray]]:
  try:
    with np.load(path, allow_pickle=False) as arrays:
      return arrays['x'], arrays['y'] if labels else None
  except (OSError, ValueError, KeyError, EOFError) as error:
    raise UsageError(
      f"--data_file={path}: expected is LEAF's JSON, TFF's HDF5 or SQLite, or a .npz file with an "
      f'array x [n, {", ".join(map(str, spec.input_shape))}]{" and labels y" if labels else ""} '
      f'({type(error).__name__})'
    ) from error


def _shaped(x: np.ndarray, spec: ModelSpec) -> np.ndarray:
  """Pictures that are rows of numbers as pictures."""
  flat = x.ndim == 2 and x.shape[1] == int(np.prod(spec.input_shape))
  return x.reshape(len(x), *spec.input_shape) if flat else x


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

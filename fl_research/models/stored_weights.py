"""Weights from a file: `model.npz` of a run, or any model that Keras opens."""

from collections.abc import Mapping, Sequence
import zipfile

import numpy as np

from fl_research.datasets import files
from fl_research.registry import UsageError


def read(path: str, weight_names: Sequence[str], like: Sequence[np.ndarray]) -> list[np.ndarray]:
  """The weights in a file, in the order of a model's.

  Names decide; a Keras file in which they are others is read in its order, where every shape fits.

  Args:
    path: `.npz`, or what Keras opens.
    weight_names: the model's.
    like: arrays of the shapes they must have.

  Raises:
    UsageError: the file cannot be read, or is not of this model; one line that names the weight.
  """
  stored = _npz(path) if path.endswith('.npz') else _keras(path)
  found = {_plain(name): weight for name, weight in stored.items()}
  named_alike = all(_plain(name) in found for name in weight_names)
  if not (named_alike or path.endswith('.npz')) and len(stored) == len(weight_names):
    found = dict(zip(map(_plain, weight_names), stored.values()))
  for name, expected in zip(weight_names, like, strict=True):
    weight = found.get(_plain(name))
    if weight is None:
      raise UsageError(
        f'--initial_model={path}: has no weight {name}, which the model has; it has '
        f'{", ".join(list(stored)[:20]) or "none"}'
      )
    if weight.shape != expected.shape:
      raise UsageError(
        f'--initial_model={path}: {name} is {list(weight.shape)} there, and '
        f'{list(expected.shape)} in the model'
      )
    if not np.issubdtype(weight.dtype, np.floating) or not np.all(np.isfinite(weight)):
      raise UsageError(f'--initial_model={path}: {name} is not all finite numbers')
  return [found[_plain(name)].astype(np.float32) for name in weight_names]


def _plain(name: str) -> str:
  """Keras knows no `/` in a layer's name, where we write its container's before it."""
  return name.replace('/', '_')


def _npz(path: str) -> Mapping[str, np.ndarray]:
  try:
    with np.load(path, allow_pickle=False) as arrays:
      return {name: arrays[name] for name in arrays.files}
  except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
    raise UsageError(
      f'--initial_model={path}: cannot be read as an .npz file ({files.one_line(error)})'
    ) from error


def _keras(path: str) -> Mapping[str, np.ndarray]:
  import tensorflow as tf

  from fl_research.models import keras_network

  try:
    model = tf.keras.models.load_model(path, compile=False)
  except Exception as error:  # whatever Keras meets in the file
    raise UsageError(
      f'--initial_model={path}: Keras cannot open it ({files.one_line(error)[:300]})'
    ) from error
  variables = keras_network.named_variables(model)
  return {name: np.asarray(variable.numpy()) for name, variable in variables.items()}

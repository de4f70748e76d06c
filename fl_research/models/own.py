"""Models that users bring, as files: which they are, without importing TensorFlow.

--model=my_models.py:build     a function of the `ModelSpec`, in a Python file
--model=saved.keras            architecture and weights, in any form that Keras opens
"""

import hashlib
import os
from typing import NamedTuple

from fl_research.datasets import files
from fl_research.registry import UsageError

KERAS_SUFFIXES = ('.keras', '.h5', '.hdf5')


class Place(NamedTuple):
  """Where a model of the user's own is: a file (or a SavedModel's folder), and a function in it."""

  path: str
  function: str


def is_own(name: str) -> bool:
  """Whether `--model` names a file, and not a model of the library."""
  return bool(name) and (
    '/' in name or '.py' in name or name.endswith(KERAS_SUFFIXES) or os.path.isdir(name)
  )


def place(name: str) -> Place:
  """The file that `--model` names, which is there.

  Raises:
    UsageError: there is no such file, or a Python file comes without a function.
  """
  path, _, function = name.rpartition(':') if '.py:' in name else (name, '', '')
  if not os.path.exists(path):
    raise UsageError(f'--model={name}: there is no file {path}')
  if path.endswith('.py') and not function.isidentifier():
    raise UsageError(
      f'--model={name}: name the function that builds the model, as in --model={path}:build'
    )
  return Place(path, function)


def sources(model: str, initial_model: str) -> dict[str, str]:
  """SHA-256 of the user's own files, by flag, so that a run is not resumed with others.

  Raises:
    UsageError: there is no such file.
  """
  found = {'model': _sha256(place(model).path)} if is_own(model) else {}
  if initial_model:
    if not os.path.exists(initial_model):
      raise UsageError(f'--initial_model={initial_model}: there is no such file')
    found['initial_model'] = _sha256(initial_model)
  return found


def _sha256(path: str) -> str:
  """Of a file, or of all files below a folder and their names."""
  if not os.path.isdir(path):
    return files.sha256_of(path)
  inside = sorted(
    os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names
  )
  whole = hashlib.sha256()
  for name in inside:
    whole.update(f'{os.path.relpath(name, path)} {files.sha256_of(name)}\n'.encode())
  return whole.hexdigest()

"""Models that users bring: which they are, without importing TensorFlow.

--model=my_models.py:build     a function of the `ModelSpec`, in a Python file
--model=saved.keras            architecture and weights, in any form that Keras opens
"""

from collections.abc import Iterator
import contextlib
import hashlib
import os
from typing import Any, NamedTuple

from fl_research.datasets import files
from fl_research.registry import UsageError

KERAS_SUFFIXES = ('.keras', '.h5', '.hdf5')

MEMORY = '<'
"""How the names of what is in memory begin."""

_IN_MEMORY: dict[str, Any] = {}


@contextlib.contextmanager
def in_memory(model: Any) -> Iterator[str]:
  """Meanwhile a model of a Python program, or a function that builds one, has the name it gives.

  So has a function that builds a learning process (`fl_research.algorithms.of_tff.own_process`).

  Raises:
    UsageError: it is neither.
  """
  if not callable(model):
    raise UsageError(
      f'model: is of type {type(model).__name__}; accepted are a name, a file '
      '(my_models.py:build), a tf.keras.Model, and a function of the ModelSpec that returns one'
    )
  name = f'{MEMORY}{getattr(model, "__name__", type(model).__name__)} at {id(model):x}>'
  _IN_MEMORY[name] = model
  try:
    yield name
  finally:
    del _IN_MEMORY[name]


def of_memory(name: str) -> Any:
  """What `in_memory` has given this name; None where it has not."""
  return _IN_MEMORY.get(name)


class Place(NamedTuple):
  """Where a model of the user's own is: a file (or a SavedModel's folder), and a function in it."""

  path: str
  function: str


def is_own(name: str) -> bool:
  """Whether `--model` names a file, and not a model of the library."""
  return bool(name) and (
    name in _IN_MEMORY
    or '/' in name
    or '.py' in name
    or name.endswith(KERAS_SUFFIXES)
    or os.path.isdir(name)
  )


def place(name: str, flag: str = 'model') -> Place:
  """The file that `--model`, or another flag, names, which is there.

  Raises:
    UsageError: there is no such file, or a Python file comes without a function.
  """
  path, _, function = name.rpartition(':') if '.py:' in name else (name, '', '')
  if not os.path.exists(path):
    raise UsageError(f'--{flag}={name}: there is no file {path}')
  if path.endswith('.py') and not function.isidentifier():
    raise UsageError(
      f'--{flag}={name}: name the function that builds the {flag}, as in --{flag}={path}:build'
    )
  return Place(path, function)


def sources(model: str, initial_model: str) -> dict[str, str]:
  """SHA-256 of the user's own files, by flag, so that a run is not resumed with others.

  Raises:
    UsageError: there is no such file.
  """
  is_file = is_own(model) and model not in _IN_MEMORY
  found = {'model': _sha256(place(model).path)} if is_file else {}
  if initial_model:
    if not os.path.exists(initial_model):
      raise UsageError(f'--initial_model={initial_model}: there is no such file')
    if os.path.isdir(initial_model) and 'saved_model.pb' not in os.listdir(initial_model):
      raise UsageError(
        f'--initial_model={initial_model}: is a folder; name the model.npz or model.keras in it'
      )
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

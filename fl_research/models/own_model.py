"""From a user's own file to a network: Keras' models, TFF's functional ones, and our layers.

The file is code that the user brought: it is imported from where it is, its folder before all
others, and what it imports from there is imported likewise.
"""

from collections.abc import Callable, Iterator
import contextlib
import importlib.util
import os
import random
import sys
import traceback
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import random_streams
from fl_research.datasets import files
from fl_research.models import functional_network, keras_network, layers, own
from fl_research.models.specification import ModelSpec
from fl_research.registry import UsageError

_ACCEPTED = 'a tf.keras.Model or a tff.learning.models.FunctionalModel'


def build(name: str, spec: ModelSpec, seed: int) -> layers.Layer:
  """The network that `--model` names by a file.

  Args:
    name: what `own.is_own` says yes to.
    spec: the data it is for; what a Python function is given.
    seed: the run's seed, which fixes what Keras draws for first weights.

  Raises:
    UsageError: one line that names the file and says what is wrong.
  """
  flag = f'--model={name}'
  given = own.of_memory(name)
  if isinstance(given, tf.keras.Model):
    return keras_network.network(flag, given, spec)
  place = own.Place('', name) if given is not None else own.place(name)
  if not place.function:
    return keras_network.network(flag, _opened(flag, place.path), spec)
  with _drawing_from(seed):
    made = call(flag, place, spec)
  if isinstance(made, tf.keras.Model):
    return keras_network.network(flag, made, spec)
  if isinstance(made, tff.learning.models.FunctionalModel):
    return functional_network.network(flag, made, spec)
  if isinstance(made, layers.Layer):
    return made
  raise UsageError(
    f'{flag}: {place.function} returns {type(made).__name__}; accepted is {_ACCEPTED}'
  )


def _opened(flag: str, path: str) -> tf.keras.Model:
  """A model that Keras has saved."""
  try:
    return tf.keras.models.load_model(path, compile=False)
  except Exception as error:  # whatever Keras meets in the file
    raise UsageError(
      f'{flag}: Keras cannot open it ({files.one_line(error)}); a model with layers of your own is '
      'named by the function that builds it, as in --model=my_models.py:build'
    ) from error


def call(flag: str, place: own.Place, *arguments: Any) -> Any:
  """What a function of the user's returns.

  Args:
    flag: the flag that names it, and its value.
    place: its file, and its name there; without a file, its name in `own.of_memory`.
    *arguments: what it is given.

  Raises:
    UsageError: there is no such function, or it fails; one line.
  """
  function = _function(flag, place) if place.path else own.of_memory(place.function)
  try:
    with _importing_from(os.path.dirname(os.path.abspath(place.path))):
      return function(*arguments)
  except (Exception, SystemExit) as error:  # the user's code
    raise UsageError(f'{flag}: {_where(error, place.path)}') from error


def _function(flag: str, place: own.Place) -> Callable[..., Any]:
  """The function, from the file as it is now."""
  stem = os.path.splitext(os.path.basename(place.path))[0]
  module_spec = importlib.util.spec_from_file_location(f'own_model_{stem}', place.path)
  assert module_spec is not None and module_spec.loader is not None
  module = importlib.util.module_from_spec(module_spec)
  sys.modules[module.__name__] = module
  try:
    with _importing_from(os.path.dirname(os.path.abspath(place.path))):
      module_spec.loader.exec_module(module)
  except Exception as error:  # the user's code
    raise UsageError(f'{flag}: {_where(error, place.path)}') from error
  function = getattr(module, place.function, None)
  if not callable(function):
    names = [n for n, value in vars(module).items() if _is_own_function(value, module.__name__)]
    has = f'its functions are {", ".join(names)}' if names else 'it has none'
    raise UsageError(f'{flag}: {place.path} has no function {place.function}; {has}')
  return function


def _is_own_function(value: Any, module: str) -> bool:
  return callable(value) and getattr(value, '__module__', '') == module


def _where(error: BaseException, path: str) -> str:
  """`line 3: ValueError: …`: an exception, and the line of the user's file that it came from."""
  frames = traceback.extract_tb(error.__traceback__)
  lines = [f.lineno for f in frames if os.path.abspath(f.filename) == os.path.abspath(path)]
  if isinstance(error, SyntaxError):
    lines = [error.lineno]
  at = f'line {lines[-1]}: ' if lines else ''
  return f'{at}{type(error).__name__}: {files.one_line(error)}'


@contextlib.contextmanager
def _importing_from(folder: str) -> Iterator[None]:
  sys.path.insert(0, folder)
  try:
    yield
  finally:
    sys.path.remove(folder)


@contextlib.contextmanager
def _drawing_from(seed: int) -> Iterator[None]:
  """What Keras, NumPy and Python draw without a seed is a function of the run's; names begin anew.

  The generators of NumPy and Python go on afterwards where they were.
  """
  states = random.getstate(), np.random.get_state()
  own_seed = random_streams.generator(seed, 'initial weights').integers(2**31)
  tf.keras.utils.set_random_seed(int(own_seed))
  tf.keras.backend.reset_uids()
  try:
    yield
  finally:
    random.setstate(states[0])
    np.random.set_state(states[1])

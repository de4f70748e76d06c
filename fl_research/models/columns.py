"""From a vector x to the inputs of a Keras model, by the columns that x came from."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from fl_research.datasets.federated_data import InputColumn
from fl_research.models.specification import ModelSpec
from fl_research.registry import UsageError

NUMBERS = 'numbers'
"""An input of this name gets all columns that are no identifiers."""


def to_inputs(model: tf.keras.Model, spec: ModelSpec, x: tf.Tensor) -> Any:
  """What a Keras model is called with: x, or a part of it for each input by name.

  Args:
    model: the model; `check` has accepted it.
    spec: the data.
    x: [n, ...].
  """
  inputs = model.inputs
  if inputs is None:
    return x
  if len(inputs) == 1 and not _by_name(model.input_names, spec):
    return tf.cast(x, inputs[0].dtype)
  return {
    name: _part(x, name, tensor, spec)
    for name, tensor in zip(model.input_names, inputs, strict=True)
  }


def check(flag: str, model: tf.keras.Model, spec: ModelSpec) -> None:
  """Sees that a Keras model's inputs can be filled.

  Raises:
    UsageError: one has another shape, or several do not have the names of columns.
  """
  inputs = model.inputs or []
  if len(inputs) > 1 or (inputs and _by_name(model.input_names, spec)):
    for name, tensor in zip(model.input_names, inputs, strict=True):
      _check_shape(flag, f'input "{name}"', tensor, _shape(flag, name, tensor, spec))
  elif inputs:
    _check_shape(flag, 'its input', inputs[0], list(spec.input_shape))


def _by_name(names: Sequence[str], spec: ModelSpec) -> bool:
  """Whether all inputs are named like columns."""
  known = {NUMBERS, *(column.layer_name for column in spec.inputs or ())}
  return spec.inputs is not None and set(names) <= known


def _shape(flag: str, name: str, tensor: Any, spec: ModelSpec) -> list[int]:
  """The shape of what an input gets from one example."""
  columns = {column.layer_name: column for column in spec.inputs or ()}
  if name not in columns and (name != NUMBERS or not columns):
    known = ', '.join([*columns, NUMBERS]) if columns else 'none, as x has no named parts here'
    raise UsageError(
      f'{flag}: input "{name}" has the name of no column; accepted are {known}; or take all of x, '
      f'{list(spec.input_shape)}, in one input'
    )
  if name in columns and columns[name].vocabulary is not None and tensor.shape.rank == 1:
    return []
  return [len(_positions(name, spec))]


def _check_shape(flag: str, what: str, tensor: Any, found: list[int]) -> None:
  if tensor.shape[0] is not None:
    raise UsageError(f'{flag}: {what} has a fixed batch size; leave batch_size out')
  if not tensor.shape[1:].is_compatible_with(found):
    wanted = list(tensor.shape[1:])
    raise UsageError(f'{flag}: {what} takes {wanted} for each example, and the data have {found}')


def _positions(name: str, spec: ModelSpec) -> list[int]:
  """The positions of x that an input gets."""
  chosen: Sequence[InputColumn] = [c for c in spec.inputs or () if c.layer_name == name]
  if not chosen:
    chosen = [column for column in spec.inputs or () if column.vocabulary is None]
  return [position for column in chosen for position in range(column.start, column.stop)]


def _part(x: tf.Tensor, name: str, tensor: Any, spec: ModelSpec) -> tf.Tensor:
  """An input's part of x; identifiers are whole numbers."""
  part = tf.cast(tf.gather(x, _positions(name, spec), axis=1), _dtype(name, tensor, spec))
  return tf.squeeze(part, axis=1) if tensor.shape.rank == 1 else part


def _dtype(name: str, tensor: Any, spec: ModelSpec) -> tf.DType:
  ids = any(c.layer_name == name and c.vocabulary is not None for c in spec.inputs or ())
  return tf.int32 if ids and tensor.dtype != tf.float32 else tensor.dtype

"""Bringing clients' values to the server side by side: the one primitive for all that needs them.

Median, Krum, client states that are handed back, and reports by client need every client's value
rather than a sum. They go through `join_at_server`, a TFF aggregation whose accumulator grows.
"""

import functools
from typing import NamedTuple

import tensorflow as tf
import tensorflow_federated as tff


def _any_rows(tensor_type: tff.TensorType) -> tff.TensorType:
  if not tensor_type.shape:
    raise TypeError(f'tensors of at least one dimension only, found {tensor_type}')
  return tff.TensorType(tensor_type.dtype, (None, *tensor_type.shape[1:]))


def stacked_type(member: tff.Type) -> tff.Type:
  """The type of any number of values of a type, each tensor with a row for each."""
  row = lambda tensor: tff.TensorType(tensor.dtype, (None, *tensor.shape))
  return tff.to_type(tff.types.structure_from_tensor_type_tree(row, member))


class _Joining(NamedTuple):
  """The parts of `tff.federated_aggregate` that join values of one type."""

  zero: tff.Computation
  accumulate: tff.Computation
  merge: tff.Computation
  report: tff.Computation


@functools.lru_cache(maxsize=64)
def _joining(member: tff.Type) -> _Joining:
  """They are the same in all computations: what a round reports has few types."""
  joined = tff.to_type(tff.types.structure_from_tensor_type_tree(_any_rows, member))

  def no_rows():
    rows = lambda t: tf.zeros([0, *t.shape[1:]], t.dtype)
    return tff.types.structure_from_tensor_type_tree(rows, joined)

  def concatenate(first, second):
    return tf.nest.map_structure(lambda a, b: tf.concat([a, b], axis=0), first, second)

  return _Joining(
    tff.tensorflow.computation(no_rows),
    tff.tensorflow.computation(concatenate, [joined, member]),
    tff.tensorflow.computation(concatenate, [joined, joined]),
    tff.tensorflow.computation(lambda rows: rows, joined),
  )


@functools.lru_cache(maxsize=64)
def _as_row(member: tff.Type) -> tff.Computation:
  """(T[...] -> T[1, ...])"""
  row = lambda member: tf.nest.map_structure(lambda t: tf.expand_dims(t, 0), member)
  return tff.tensorflow.computation(row, member)


def join_at_server(value: tff.Value) -> tff.Value:
  """Concatenates clients' tensors along their first dimension.

  Args:
    value: a structure `{T[n_i, ...]}@CLIENTS` of tensors of at least one dimension; clients may
      differ in n_i.

  Returns:
    The same structure `T[?, ...]@SERVER` of sum n_i rows. The order of clients is the runtime's:
    send the client's index along, and sort by it where the order matters.
  """
  zero, *others = _joining(value.type_signature.member)
  return tff.federated_aggregate(value, zero(), *others)


def stack_at_server(value: tff.Value) -> tff.Value:
  """Stacks clients' tensors: `{T[...]}@CLIENTS` becomes `T[?, ...]@SERVER`, a row per client.

  As in `join_at_server` the order of rows is the runtime's.
  """
  return join_at_server(tff.federated_map(_as_row(value.type_signature.member), value))

"""Operations on structures of tensors: models, updates, states."""

from typing import Any

import tensorflow as tf

Weights = tuple[tf.Tensor, ...]
"""The weights of a model, or anything shaped like them."""


def subtract(first: Weights, second: Weights) -> Weights:
  """first - second, tensor by tensor."""
  return tuple(a - b for a, b in zip(first, second, strict=True))


def squared_norm(structure: Any) -> tf.Tensor:
  """The sum of the squares of all numbers of a structure: float32 []."""
  return tf.add_n([tf.reduce_sum(tf.square(tensor)) for tensor in tf.nest.flatten(structure)])


def all_finite(structure: Any) -> tf.Tensor:
  """Whether no number of a structure is infinite or NaN: bool []."""
  numbers = [tensor for tensor in tf.nest.flatten(structure) if tensor.dtype.is_floating]
  finite = [tf.reduce_all(tf.math.is_finite(tensor)) for tensor in numbers]
  return tf.reduce_all(tf.stack(finite)) if finite else tf.constant(True)


def choose(condition: tf.Tensor, new: Any, old: Any) -> Any:
  """`new` if the condition (bool []) holds, else `old`: structures of tensors, not copied.

  `Select` by a single truth hands one of its tensors on; `tf.where` would make a copy.
  """
  leaves = zip(tf.nest.flatten(new), tf.nest.flatten(old), strict=True)
  chosen = [tf.raw_ops.Select(condition=condition, x=a, y=b) for a, b in leaves]
  return tf.nest.pack_sequence_as(new, chosen)


def zeros_unless(condition: tf.Tensor, structure: Any) -> Any:
  """The structure if the condition (bool []) holds, else zeros."""
  if not tf.nest.flatten(structure):
    return structure
  same = lambda: [tf.identity(leaf) for leaf in tf.nest.flatten(structure)]
  zeros = lambda: [tf.zeros_like(leaf) for leaf in tf.nest.flatten(structure)]
  return tf.nest.pack_sequence_as(structure, tf.cond(condition, same, zeros))


def num_elements(structure: Any) -> int:
  """How many numbers a structure of tensors of known shapes holds."""
  return sum(tensor.shape.num_elements() for tensor in tf.nest.flatten(structure))

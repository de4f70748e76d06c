"""TFF types of what a round takes, and what structures take on the wire."""

import collections
from typing import Any, Optional

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.aggregation import sums as sums_lib
from fl_research.models import model as model_lib


def client_data_type(model: model_lib.Model, batch_size: Optional[int] = None) -> tff.Type:
  """The type D of one client's data; `batch_size` None leaves B open (B = infinity)."""
  x, y = model.input_spec
  tensor = lambda spec: tff.TensorType(spec.dtype.as_numpy_dtype, spec.shape)
  return tff.to_type(
    collections.OrderedDict(
      examples=collections.OrderedDict(x=tensor(x), y=tensor(y)),
      batches=tff.TensorType(np.int32, (None, batch_size)),
      num_examples=np.int32,
      client=np.int32,
      seed=tff.TensorType(np.int32, (2,)),
    )
  )


def num_bytes(type_spec: tff.Type) -> int:
  """Size of a structure of tensors of fixed shapes."""
  return tensor_bytes(tff.types.type_to_tf_tensor_specs(type_spec))


def tensor_bytes(structure: Any) -> int:
  """Size of tensors of fixed shapes, in a graph, or of what their specs stand for."""
  leaves = tf.nest.flatten(structure)
  return sum(leaf.dtype.size * leaf.shape.num_elements() for leaf in leaves)


def sent_bytes(message: Any, sums: sums_lib.Sums) -> tf.Tensor:
  """What a client's message takes: bytes as they are, numbers as the sums take them; float64 []."""
  leaves = tf.nest.flatten(message)
  numbers = sum(leaf.shape.num_elements() for leaf in leaves if leaf.dtype != tf.uint8)
  size = tf.constant(float(sums.num_bytes(numbers)) if numbers else 0.0, tf.float64)
  packed = [tf.cast(tf.size(leaf), tf.float64) for leaf in leaves if leaf.dtype == tf.uint8]
  return tf.add_n([size, *packed])

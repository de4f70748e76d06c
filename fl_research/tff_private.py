"""The names of TFF that are not under its public `tff.*`: this file alone imports them.

A newer TFF may move or drop them; this is then the one place to change.
"""

import functools

import tensorflow as tf
from tensorflow_federated.proto.v0 import computation_pb2
from tensorflow_federated.python.aggregators import primitives
from tensorflow_federated.python.core.impl.execution_contexts import compiler_pipeline
from tensorflow_federated.python.core.impl.types import type_serialization
from tensorflow_federated.python.core.impl.utils import tensorflow_utils

__all__ = [
  'dataset_from_elements',
  'forget_compiled',
  'read_deep_messages',
  'read_types_once',
  'trace_secure_sums_apart',
]

_MOST_TYPES = 4096


def dataset_from_elements(elements, element_type):
  """A list of a sequence's elements as a `tf.data.Dataset`, as TFF's own runtime reads it.

  Args:
    elements: list of Python structures of arrays.
    element_type: `tff.Type` of one element.
  """
  return tensorflow_utils.make_data_set_from_elements(None, elements, element_type)


def forget_compiled() -> None:
  """Drops the last 128 computations that TFF has compiled, and whatever they hold."""
  compiler_pipeline.CompilerPipeline.compile.cache_clear()


def read_deep_messages() -> None:
  """Lets computations be as deeply nested as TFF makes them; calling it again changes nothing.

  protobuf's parser gives up at a depth of 100 unless it is told that messages are large, and those
  of `tff.learning.ddp_secure_aggregator` go deeper, so that TFF alone cannot build it.
  """
  try:
    from google._upb import _message
  except ImportError:  # Another implementation, which has other limits.
    return
  _message.SetAllowOversizeProtos(True)


def read_types_once() -> None:
  """Has TFF keep the types that it reads from messages; calling it again changes nothing.

  Compiling a round, TFF reads the same few hundred types some ten thousand times, an eighth of the
  time that it takes. Types cannot be changed, so that all may have the same.
  """
  read = type_serialization.deserialize_type
  if hasattr(read, 'kept'):
    return
  # By their bytes: a part of a message would keep the whole in memory, graphs and all.
  kept = functools.lru_cache(_MOST_TYPES)(lambda text: read(computation_pb2.Type.FromString(text)))

  def deserialize_type(message):
    return kept(message.SerializeToString(deterministic=True))

  deserialize_type.kept = kept  # type: ignore[attr-defined]
  type_serialization.deserialize_type = deserialize_type


def trace_secure_sums_apart() -> None:
  """Has every graph keep its own trace of secure sums; calling it again changes nothing.

  TFF has one `tf.function` of the server's part, which keeps all graphs that it was ever called in:
  a megabyte of each process with secure sums, for ever.
  """
  shift = primitives._server_tensor_shift_for_secure_sum
  if hasattr(shift, 'apart'):
    return

  def apart(*arguments):
    graph = tf.compat.v1.get_default_graph()
    if not hasattr(graph, 'shift_for_secure_sum'):
      graph.shift_for_secure_sum = tf.function(shift.python_function)
    return graph.shift_for_secure_sum(*arguments)

  apart.apart = shift  # type: ignore[attr-defined]
  primitives._server_tensor_shift_for_secure_sum = apart

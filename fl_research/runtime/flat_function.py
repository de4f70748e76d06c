"""TensorFlow functions of flat tensors, called without TensorFlow's binding of Python arguments."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import hashlib

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context


class FlatFunction:
  """A traced function that takes tensors and returns a list of tensors.

  A concrete function binds its arguments anew in every call, which for a model's weights takes as
  long as some steps of training (0.3 ms for 14 tensors, where the call itself takes 0.07 ms). Here
  the caller vouches for them: as many tensors as the signature has, and of its types.

  It is called by its name, not by `StatefulPartitionedCall`, which takes half as long: TensorFlow
  would keep the kernels of the latter when the function is gone, 4 MB of each federated process.

  Args:
    function: takes tensors and returns a flat list of them.
    signature: of the tensors.
    jit: whether XLA compiles it, at the first call with every shape.
  """

  def __init__(self, function: Callable, signature: Sequence[tf.TensorSpec], jit: bool = False):
    traced = tf.function(
      function, autograph=False, input_signature=signature, jit_compile=True if jit else None
    )
    # What is called by its name must be kept alive.
    self._concrete = traced.get_concrete_function()
    self._captured = list(self._concrete.captured_inputs)
    self._name, self._outputs = self._concrete.name, len(self._concrete.outputs)

  def __call__(self, *tensors: tf.Tensor) -> Sequence[tf.Tensor]:
    return _call(self._name, [*tensors, *self._captured], self._outputs)

  def operations(self) -> set[str]:
    """The names of the operations in it and in the functions that it calls."""
    graph = self._concrete.graph.as_graph_def()
    bodies = [graph.node, *(function.node_def for function in graph.library.function)]
    return {node.op for body in bodies for node in body}

  def exported(self) -> 'Exported':
    """The function for another process, which needs nothing but TensorFlow.

    Raises:
      NotImplementedError: it holds something that only this process has, such as a variable.
    """
    for tensor in self._captured:
      if tensor.dtype in (tf.resource, tf.variant):
        raise NotImplementedError(f'a function that holds a {tensor.dtype.name}')
    library = self._concrete.graph.as_graph_def().library
    library.function.append(self._concrete.function_def)
    captured = tuple(tensor.numpy() for tensor in self._captured)
    return Exported(library.SerializeToString(), self._name.decode(), self._outputs, captured)


@dataclasses.dataclass(frozen=True)
class Exported:
  """A function on its way to another process.

  Attributes:
    library: the serialised `FunctionDefLibrary` with it and all that it calls.
    name: its name there.
    outputs: number of its results.
    captured: its last arguments, the same in all calls.
  """

  library: bytes
  name: str
  outputs: int
  captured: tuple[np.ndarray, ...]

  @functools.cached_property
  def hash(self) -> str:
    """What names it, by its content."""
    return hashlib.sha256(self.library).hexdigest()


class ImportedFunction:
  """An exported function as one to call, with the same bits where it was exported."""

  def __init__(self, exported: Exported):
    graph = tf.compat.v1.GraphDef()
    graph.library.ParseFromString(exported.library)
    for function in graph.library.function:
      context.context().add_function_def(function)
    self._captured = [tf.constant(value) for value in exported.captured]
    self._name, self._outputs = exported.name.encode(), exported.outputs

  def __call__(self, *tensors: tf.Tensor) -> Sequence[tf.Tensor]:
    return _call(self._name, [*tensors, *self._captured], self._outputs)


def _call(name: bytes, inputs: list[tf.Tensor], outputs: int) -> Sequence[tf.Tensor]:
  return context.context().call_function(name, inputs, outputs) or []

"""TensorFlow functions of flat tensors, called without TensorFlow's binding of Python arguments."""

from collections.abc import Callable, Sequence

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
    inputs = [*tensors, *self._captured]
    return context.context().call_function(self._name, inputs, self._outputs) or []

  def operations(self) -> set[str]:
    """The names of the operations in it and in the functions that it calls."""
    graph = self._concrete.graph.as_graph_def()
    bodies = [graph.node, *(function.node_def for function in graph.library.function)]
    return {node.op for body in bodies for node in body}

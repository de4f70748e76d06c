"""Whether a network that somebody brought is a pure function of its weights, its input and a seed.

It is traced once for training and once for evaluation, never run; whatever reads a variable, draws
from a generator of its own or leaves a weight without gradient is refused with its name.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from fl_research.datasets import files
from fl_research.models import outputs
from fl_research.models.specification import ModelSpec
from fl_research.registry import UsageError

# Operations that TensorFlow must not drop or repeat, and that harm nobody.
_HARMLESS = {'Placeholder', 'Assert', 'PrintV2'}


ADDS_LOSS = (
  'adds a loss of its own, which would not be trained; leave regularizers and add_loss out, '
  '--client_weight_decay does what L2 does'
)


@dataclasses.dataclass(frozen=True)
class Traced:
  """What a trace shows of a network.

  Attributes:
    draws: whether it computes otherwise in training, and so is given a seed.
    pools: whether it takes a maximum over windows.
  """

  draws: bool
  pools: bool


NOTHING = Traced(False, False)


def examine(flag: str, network: Any, weights: Sequence[np.ndarray], spec: ModelSpec) -> Traced:
  """Traces a network.

  Args:
    flag: `--model=…`, for messages.
    network: a `layers.Layer` that also has `owner_of(node)`, which says in words whose an operation
      is, and `adds_loss()`, likewise which layer has added a loss.
    weights: its first weights.
    spec: the data it is for.

  Raises:
    UsageError: it is not a pure function, or its output is not what the problem asks for.
  """
  specs = tuple(tf.TensorSpec(w.shape, w.dtype) for w in weights)
  x = tf.TensorSpec([None, *spec.input_shape], spec.x_dtype)
  seed = tf.TensorSpec([2], tf.int32)
  operations: dict[bool, list[str]] = {}
  unconnected: list[str] = []

  def call(weights, x, seed, training):
    with tf.GradientTape() as tape:
      tape.watch(weights)
      output = network(weights, x, seed if training else None)
    outputs.check(flag, output, spec)
    if layer := network.adds_loss():
      raise UsageError(f'{flag}: {layer}{ADDS_LOSS}')
    types = [operation.type for operation in output.graph.get_operations()]
    operations[training] = [kind for kind in types if kind != 'Identity']
    if training:
      gradients = tape.gradient(output, weights)
      pairs = zip(network.weight_names, gradients, network.untrained, strict=True)
      unconnected.extend(name for name, g, untrained in pairs if g is None and not untrained)
    return output

  # Within a graph, as TFF traces: nothing may come from outside of it.
  with tf.Graph().as_default():
    for training in (False, True):
      function = tf.function(lambda w, x, s: call(w, x, s, training), autograph=False)  # noqa: B023
      try:
        traced = function.get_concrete_function(specs, x, seed)
      except UsageError:
        raise
      except Exception as error:  # what Keras, or a layer of the user's, says
        raise UsageError(
          f'{flag}: cannot be called with tensors in the place of its variables, which layers must '
          f'not assign to ({_beginning(error)})'
        ) from error
      _refuse_impure(flag, network, traced)
  if unconnected:
    raise UsageError(
      f'{flag}: {", ".join(unconnected)} would never be trained, as the output does not depend on '
      'it in a way that has a gradient; leave it out, or set its layer trainable=False'
    )
  differs = operations[True] != operations[False]
  return Traced(draws=differs, pools=any('MaxPool' in op for op in operations[False]))


def _refuse_impure(flag: str, network: Any, traced: Any) -> None:
  """Raises for what a trace reads from outside, or would do besides its output."""
  for operation in traced.graph.get_operations():
    if any(tensor.dtype == tf.resource for tensor in operation.inputs):
      raise UsageError(
        f'{flag}: {network.owner_of(operation.name)}reads a variable that is no attribute of it; '
        'make it one: self.scale = self.add_weight(…)'
      )
    if operation.op_def.is_stateful and operation.type not in _HARMLESS:
      raise UsageError(
        f'{flag}: {network.owner_of(operation.name)}does what is no function of weights, input and '
        f"seed ({operation.type}); use Keras' own layers for what is random"
      )
  if traced.captured_inputs:
    raise UsageError(
      f'{flag}: reads a tensor of shape {traced.captured_inputs[0].shape} that is no attribute of '
      'one of its layers; make it a NumPy array'
    )


def _beginning(error: Exception) -> str:
  """What an exception says first, where Keras names the layer."""
  return files.one_line(error).partition(' Call arguments received')[0][:300]

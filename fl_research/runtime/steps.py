"""A program's steps as TensorFlow functions over flat lists of tensors."""

from collections.abc import Sequence

import tensorflow as tf
import tensorflow_federated as tff

from fl_research.runtime import expressions
from fl_research.runtime import layouts
from fl_research.runtime import pieces
from fl_research.runtime import program as programs


class Shape:
  """The flat tensors that stand for the value of one key."""

  def __init__(self, type_signature, at_clients: bool):
    self.type = type_signature.member if _is_federated(type_signature) else type_signature
    self.leaf_types = pieces.leaf_types(self.type)
    self.layouts = [layouts.layout_of(leaf) for leaf in self.leaf_types] if at_clients else None

  def specs(self) -> list[tf.TensorSpec]:
    if self.layouts is None:
      return [pieces.leaf_spec(leaf) for leaf in self.leaf_types]
    return [spec for layout in self.layouts for spec in layout.specs]

  def value(self, tensors: Sequence[tf.Tensor]) -> expressions.Value:
    """The value at the server that has these leaves."""
    return expressions.pack(self.type, iter(tensors))

  def take(self, tensors: Sequence[tf.Tensor], index: tf.Tensor) -> expressions.Value:
    """The value at the client at `index`."""
    leaves = []
    for layout in self.layouts:
      own, tensors = tensors[: len(layout.specs)], tensors[len(layout.specs) :]
      leaves.append(layout.take(own, index))
    return expressions.pack(self.type, iter(leaves))


def _is_federated(type_signature) -> bool:
  return isinstance(type_signature, tff.FederatedType)


def shape_of(program: programs.Program, key: programs.Key) -> Shape:
  """The tensors that stand for `key`."""
  return Shape(program.types[key], key in program.at_clients)


def split(shapes: Sequence[Shape], tensors: Sequence[tf.Tensor]) -> list[list[tf.Tensor]]:
  """Cuts a flat list of tensors into one list per shape."""
  parts = []
  for shape in shapes:
    size = len(shape.specs())
    parts.append(list(tensors[:size]))
    tensors = tensors[size:]
  return parts


def _names(program: programs.Program, known: dict) -> dict:
  """The names for `expressions.evaluate`, with the parameter put together from its parts."""
  names = dict(known)
  if program.parameter_name is not None:
    names[program.parameter_name] = _parameter(program.parameter_name, program.parameter_type, known)
  return names


def _parameter(key: programs.Key, type_signature, known: dict):
  if key in known:
    return known[key]
  if isinstance(type_signature, tff.StructType):
    elements = tff.structure.iter_elements(type_signature)
    return expressions.Struct(
        [(name, _parameter(f'{key}/{i}', part, known)) for i, (name, part) in enumerate(elements)]
    )
  return None


def server_function(program: programs.Program, step: programs.Step) -> tf.types.experimental.Callable:
  """The step as a function from the leaves of its inputs to those of its outputs."""
  inputs = [shape_of(program, key) for key in step.inputs]

  def run(*tensors):
    parts = zip(step.inputs, inputs, split(inputs, tensors))
    known = {key: shape.value(leaves) for key, shape, leaves in parts}
    names = _names(program, known)
    for aggregation in step.aggregations:
      report = expressions.evaluate(aggregation.report, names)
      names[aggregation.key] = report(known[aggregation.accumulator_key])
    for name, block in step.calls:
      names[name] = expressions.evaluate(block, names)
    for aggregation in step.zeros:
      names[aggregation.zero_key] = expressions.evaluate(aggregation.zero, names)
    outputs = [leaf for key in step.outputs for leaf in expressions.flatten(names[key])]
    return [tf.convert_to_tensor(leaf) for leaf in outputs]

  return tf.function(run, autograph=False, input_signature=_signature(inputs))


def _signature(shapes: Sequence[Shape]) -> list[tf.TensorSpec]:
  return [spec for shape in shapes for spec in shape.specs()]


def merge_function(program: programs.Program, step: programs.Step):
  """A function that merges two chunks' accumulators, each the leaves of all aggregations."""
  shapes = [shape_of(program, a.accumulator_key) for a in step.aggregations]
  signature = _signature(shapes)

  def run(*tensors):
    left, right = tensors[: len(signature)], tensors[len(signature) :]
    merged = []
    for aggregation, shape, a, b in zip(
        step.aggregations, shapes, split(shapes, left), split(shapes, right)
    ):
      merge = expressions.evaluate(aggregation.merge, {})
      both = expressions.Struct([(None, shape.value(a)), (None, shape.value(b))])
      merged += expressions.flatten(merge(both))
    return merged

  return tf.function(run, autograph=False, input_signature=signature + signature)


class ClientStep:
  """A step at the clients as a function that loops over the clients of one chunk.

  Attributes:
    function: takes the number of clients, then the leaves of `inputs`; returns the leaves of the
      accumulators, then those of the outputs.
    inputs: the keys of its inputs.
    accumulators, outputs: the shapes of what it returns.
  """

  def __init__(self, program: programs.Program, step: programs.Step, jit: bool = False):
    self._program = program
    self._step = step
    self.inputs = step.inputs
    self._shapes = [shape_of(program, key) for key in step.inputs]
    self.accumulators = [shape_of(program, a.accumulator_key) for a in step.aggregations]
    self.outputs = [shape_of(program, key) for key in step.outputs]
    signature = [tf.TensorSpec([], tf.int32), *_signature(self._shapes)]
    self.function = tf.function(
        self._fold, autograph=False, input_signature=signature, jit_compile=jit or None
    )

  def _fold(self, count, *tensors):
    parts = dict(zip(self.inputs, split(self._shapes, tensors)))
    shapes = dict(zip(self.inputs, self._shapes))
    at_clients = self._program.at_clients
    known = {k: shapes[k].value(leaves) for k, leaves in parts.items() if k not in at_clients}
    zeros = [known[a.zero_key] for a in self._step.aggregations]
    collectors = [layout for shape in self.outputs for layout in shape.layouts]

    def body(index, accumulators, arrays):
      taken = {k: shapes[k].take(leaves, index) for k, leaves in parts.items() if k in at_clients}
      names = _names(self._program, {**known, **taken})
      for name, block in self._step.calls:
        names[name] = expressions.evaluate(block, names)
      new = [leaf for leaf in self._accumulate(accumulators, names)]
      leaves = [leaf for key in self._step.outputs for leaf in expressions.flatten(names[key])]
      arrays = [
          layout.write(array, index, leaf)
          for layout, array, leaf in zip(collectors, arrays, leaves)
      ]
      return index + 1, new, arrays

    start = [leaf for zero in zeros for leaf in expressions.flatten(zero)]
    arrays = [layout.arrays(count) for layout in collectors]
    specs = _signature(self.accumulators)
    _, accumulators, arrays = tf.while_loop(
        lambda index, *_: index < count,
        body,
        (tf.constant(0), start, arrays),
        shape_invariants=(
            tf.TensorShape([]),
            [spec.shape for spec in specs],
            tf.nest.map_structure(lambda _: None, arrays),
        ),
        parallel_iterations=1,
    )
    collected = [layout.finish(array) for layout, array in zip(collectors, arrays)]
    return accumulators + [tensor for tensors in collected for tensor in tensors]

  def _accumulate(self, accumulators, names):
    parts = split(self.accumulators, accumulators)
    for aggregation, shape, leaves in zip(self._step.aggregations, self.accumulators, parts):
      accumulate = expressions.evaluate(aggregation.accumulate, names)
      value = expressions.evaluate(aggregation.value, names)
      both = expressions.Struct([(None, shape.value(leaves)), (None, value)])
      for leaf, spec in zip(expressions.flatten(accumulate(both)), shape.specs()):
        yield tf.ensure_shape(leaf, spec.shape)

"""The server's steps of a program as TensorFlow functions over flat lists of tensors."""

from collections.abc import Sequence

import tensorflow as tf
import tensorflow_federated as tff

from fl_research.runtime import (
  expressions,
  flat_function,
  graph_functions,
  layouts,
  python_values,
)
from fl_research.runtime import program as programs


class ServerShape:
  """The flat tensors that stand for a value at the server: its leaves."""

  def __init__(self, type_signature):
    self.type = member_of(type_signature)
    self.specs = [graph_functions.leaf_spec(leaf) for leaf in graph_functions.leaf_types(self.type)]

  def value(self, tensors: Sequence[tf.Tensor]) -> expressions.Value:
    """The value that has these leaves."""
    return expressions.pack(self.type, iter(tensors))


class ClientShape:
  """The flat tensors that stand for a value at the clients; see `layouts`."""

  def __init__(self, type_signature):
    self.type = member_of(type_signature)
    self._leaf_types = graph_functions.leaf_types(self.type)
    self.leaf_specs = [graph_functions.leaf_spec(leaf) for leaf in self._leaf_types]
    self.layouts = [layouts.layout_of(spec) for spec in self.leaf_specs]
    self.specs = [spec for layout in self.layouts for spec in layout.specs]

  def arrange(self, leaves: Sequence[layouts.RawLeaf]) -> list[tf.Tensor]:
    """The tensors for the values of the clients."""
    return layouts.arranged(self.leaf_specs, leaves)

  def rows(self, tensors: Sequence[tf.Tensor]) -> list[tuple]:
    """The leaves of each client, as NumPy values and data sets."""
    columns = []
    for layout, own, leaf in zip(self.layouts, split(self.layouts, tensors), self._leaf_types):
      values = layout.split(own)
      if isinstance(leaf, tff.SequenceType):
        values = [python_values.to_dataset(variant, leaf) for variant in values]
      columns.append(values)
    return list(zip(*columns))

  def take(self, tensors: Sequence[tf.Tensor], place: layouts.Place) -> expressions.Value:
    """In a graph: the value of the client at a place."""
    parts = zip(self.layouts, split(self.layouts, tensors))
    return expressions.pack(self.type, iter([layout.take(own, place) for layout, own in parts]))


def member_of(type_signature):
  """The type without its placement."""
  if isinstance(type_signature, tff.FederatedType):
    return type_signature.member
  return type_signature


def shape_of(program: programs.Program, key: programs.Key):
  """The tensors that stand for `key`."""
  if key not in program.shapes:
    shape = ClientShape if key in program.at_clients else ServerShape
    program.shapes[key] = shape(program.types[key])
  return program.shapes[key]


def split(shapes: Sequence, tensors: Sequence[tf.Tensor]) -> list[list[tf.Tensor]]:
  """Cuts a flat list of tensors into one list per shape or layout."""
  parts = []
  for shape in shapes:
    parts.append(list(tensors[: len(shape.specs)]))
    tensors = tensors[len(shape.specs) :]
  return parts


def names_of(program: programs.Program, known: dict) -> dict:
  """The names for `expressions.evaluate`, with the parameter put together from its parts."""
  names = dict(known)
  if program.parameter_name is not None:
    name, parameter_type = program.parameter_name, program.parameter_type
    names[name] = _parameter(name, parameter_type, known)
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


def server_function(program: programs.Program, step: programs.Step):
  """The step as a function from the leaves of its inputs to those of its outputs."""
  inputs = [shape_of(program, key) for key in step.inputs]

  def run(*tensors):
    parts = zip(step.inputs, inputs, split(inputs, tensors))
    known = {key: shape.value(leaves) for key, shape, leaves in parts}
    names = names_of(program, known)
    for aggregation in step.aggregations:
      report = expressions.evaluate(aggregation.report, names)
      names[aggregation.key] = report(known[aggregation.accumulator_key])
    for name, block in step.calls:
      names[name] = expressions.evaluate(block, names)
    for aggregation in step.zeros:
      names[aggregation.zero_key] = expressions.evaluate(aggregation.zero, names)
    outputs = [leaf for key in step.outputs for leaf in expressions.flatten(names[key])]
    return [tf.convert_to_tensor(leaf) for leaf in outputs]

  return flat_function.FlatFunction(run, signature_of(inputs))


def signature_of(shapes: Sequence) -> list[tf.TensorSpec]:
  """The specs of all tensors of the shapes."""
  return [spec for shape in shapes for spec in shape.specs]


def merge_function(aggregations: Sequence[programs.Aggregation]):
  """A function that merges two chunks' accumulators, each the leaves of all aggregations."""
  shapes = [ServerShape(aggregation.accumulator_type) for aggregation in aggregations]
  signature = signature_of(shapes)

  def run(*tensors):
    left, right = tensors[: len(signature)], tensors[len(signature) :]
    merged = []
    for aggregation, shape, a, b in zip(
      aggregations, shapes, split(shapes, left), split(shapes, right)
    ):
      merge = expressions.evaluate(aggregation.merge, {})
      both = expressions.Struct([(None, shape.value(a)), (None, shape.value(b))])
      merged += expressions.flatten(merge(both))
    return merged

  return flat_function.FlatFunction(run, signature + signature)

"""Evaluates TFF's building blocks inside a TensorFlow graph.

A value is a tensor (a sequence: the scalar variant of its data set), a `tff.structure.Struct` of
values, or a Python function from value to value. Placements have gone by the time a block comes
here: a federated value stands for its member, at the server or at the one client at hand, so that
`federated_map` is a plain call and `federated_zip` an identity.
"""

import collections
from typing import Any, Optional

import tensorflow as tf
import tensorflow_federated as tff

from fl_research.runtime import graph_functions

Struct = tff.structure.Struct
Value = Any


class NotReducible(Exception):
  """A computation that the fused runtime leaves to the native one; the message says why."""


class NotRunnable(Exception):
  """A computation that neither runtime runs; the message says why."""


JAX = "it is written in JAX, which TFF's own runtime does not run either"
SEQUENCE_SUM = (
  "it uses sequence_sum, which TFF's own runtime does not run either: use sequence_reduce"
)


def flatten(value: Value) -> list:
  """The leaves of a value, in the order of `graph_functions.leaf_types` of its type."""
  if value is None:
    return []
  if isinstance(value, Struct):
    return [leaf for member in value for leaf in flatten(member)]
  return [value]


def pack(type_signature, leaves) -> Value:
  """The value of the given type whose leaves are the next ones of the iterator `leaves`."""
  if isinstance(type_signature, tff.FederatedType):
    return pack(type_signature.member, leaves)
  if isinstance(type_signature, tff.StructType):
    elements = tff.structure.iter_elements(type_signature)
    return Struct([(name, pack(member, leaves)) for name, member in elements])
  return next(leaves)


def _to_nest(value: Value):
  """A value as the OrderedDicts and tuples of which `tf.data` builds its elements."""
  if not isinstance(value, Struct):
    return value
  elements = [(name, _to_nest(member)) for name, member in tff.structure.iter_elements(value)]
  if elements and all(name is not None for name, _ in elements):
    return collections.OrderedDict(elements)
  return tuple(member for _, member in elements)


def _select(argument: Value) -> tf.Tensor:
  """`federated_select` at one client: the data set of `select_fn(server_value, key)` by key."""
  keys, _, server_value, select_fn = argument
  slices = tf.data.Dataset.from_tensor_slices(keys)
  parameter = lambda key: Struct([(None, server_value), (None, key)])
  return tf.data.experimental.to_variant(
    slices.map(lambda key: _to_nest(select_fn(parameter(key))))
  )


_INTRINSICS = {
  'federated_apply': lambda argument: argument[0](argument[1]),
  'federated_map': lambda argument: argument[0](argument[1]),
  'federated_map_all_equal': lambda argument: argument[0](argument[1]),
  'federated_broadcast': lambda argument: argument,
  'federated_eval_at_clients': lambda argument: argument(None),
  'federated_eval_at_server': lambda argument: argument(None),
  'federated_value_at_clients': lambda argument: argument,
  'federated_value_at_server': lambda argument: argument,
  'federated_zip_at_clients': lambda argument: argument,
  'federated_zip_at_server': lambda argument: argument,
  'federated_select': _select,
}


def _compiled(block) -> Value:
  kind = block.proto.WhichOneof('computation')
  if kind == 'xla':
    raise NotRunnable(JAX)
  if kind != 'tensorflow':
    raise NotReducible(f'it contains a part compiled to {kind}')
  piece = graph_functions.piece_of(block.proto)
  result_type = block.type_signature.result
  return lambda argument: pack(result_type, iter(piece(flatten(argument))))


def _intrinsic(block) -> Value:
  if block.uri == 'sequence_sum':
    raise NotRunnable(SEQUENCE_SUM)
  if block.uri not in _INTRINSICS:
    raise NotReducible(f'it uses {block.uri}')
  return _INTRINSICS[block.uri]


def _literal(block) -> Value:
  spec = graph_functions.leaf_spec(block.type_signature)
  return tf.constant(block.value, spec.dtype, spec.shape)


def evaluate(block, names: dict[str, Value]) -> Value:
  """The value of a building block in call-dominant form.

  Args:
    block: `tff.framework.ComputationBuildingBlock`; no aggregation in it.
    names: the values of the names that it refers to.

  Raises:
    NotReducible: it contains something that only TFF's own runtime knows.
    NotRunnable: it contains something that neither knows.
  """
  framework = tff.framework
  if isinstance(block, framework.Reference):
    return names[block.name]
  if isinstance(block, framework.Selection):
    return evaluate(block.source, names)[block.as_index()]
  if isinstance(block, framework.Struct):
    elements = tff.structure.iter_elements(block)
    return Struct([(name, evaluate(member, names)) for name, member in elements])
  if isinstance(block, framework.Call):
    argument = None if block.argument is None else evaluate(block.argument, names)
    return evaluate(block.function, names)(argument)
  if isinstance(block, framework.Lambda):
    return _closure(block, names)
  if isinstance(block, framework.Block):
    names = dict(names)
    for name, value in block.locals:
      names[name] = evaluate(value, names)
    return evaluate(block.result, names)
  if isinstance(block, framework.CompiledComputation):
    return _compiled(block)
  if isinstance(block, framework.Intrinsic):
    return _intrinsic(block)
  if isinstance(block, framework.Literal):
    return _literal(block)
  raise NotReducible(f'it contains a {type(block).__name__.lower()} block')


def _closure(block, names: dict[str, Value]) -> Value:
  def call(argument: Optional[Value]) -> Value:
    if block.parameter_name is None:
      return evaluate(block.result, names)
    return evaluate(block.result, {**names, block.parameter_name: argument})

  return call

"""TFF's TensorFlow computations as plain functions over flat lists of tensors.

A `tff.tensorflow.computation` is stored as a GraphDef with named bindings. A `Piece` prepares that
graph once, so that it can be imported into a `tf.function` any number of times, also twice into
one graph and from several threads:

- pruned to what its outputs need, its placeholders replaced by the arguments;
- its library functions renamed, since two graphs may use one name for two;
- its initialisation (variables, tables) made to run before everything else, on every call;
- its resources private to a call, since chunks of clients run at the same time.
"""

from collections.abc import Iterable, Iterator, Sequence
import contextlib
import contextvars
import functools
import hashlib
import itertools
import math
import weakref

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context
import tensorflow_federated as tff

from fl_research.runtime import content, dataset_loops

# TensorFlow's own mark (`ResourceHandle::ANONYMOUS_NAME`) for a variable that is new each time its
# handle is made.
_ANONYMOUS = b'cd2c89b7-88b7-44c8-ad83-06c2a9158347'

_INT64 = tf.compat.v1.AttrValue(type=tf.int64.as_datatype_enum)
_LARGE_CONSTANT = 1 << 18
"""Numbers."""

_numbers = itertools.count()


def binding_names(binding) -> list[str]:
  """The tensor names of a TFF binding, in the order in which `tff.structure.flatten` gives."""
  kind = binding.WhichOneof('binding')
  if kind == 'struct':
    return [name for element in binding.struct.element for name in binding_names(element)]
  if kind == 'tensor':
    return [binding.tensor.tensor_name]
  if kind == 'sequence':
    return [binding.sequence.variant_tensor_name]
  raise NotImplementedError(f'unknown binding {kind!r}')


def leaf_types(type_signature) -> list[tff.Type]:
  """The tensor and sequence types of a type without placements, in flattening order."""
  if type_signature is None:
    return []
  if isinstance(type_signature, tff.StructType):
    return [leaf for member in type_signature for leaf in leaf_types(member)]
  return [type_signature]


@functools.cache
def leaf_spec(leaf_type) -> tf.TensorSpec:
  """The TensorFlow shape and dtype of a leaf; a sequence is a scalar variant."""
  if isinstance(leaf_type, tff.SequenceType):
    return tf.TensorSpec([], tf.variant)
  dtype = tf.string if leaf_type.dtype.type is np.str_ else tf.as_dtype(leaf_type.dtype.type)
  return tf.TensorSpec(leaf_type.shape, dtype)


def _node_of(name: str) -> str:
  return name.lstrip('^').split(':')[0]


def _needed_for(graph: tf.compat.v1.GraphDef, names: Iterable[str]) -> set[str]:
  """The names of the nodes without which those given cannot be computed, they among them."""
  inputs = {node.name: [_node_of(name) for name in node.input] for node in graph.node}
  needed, pending = set(), list(names)
  while pending:
    name = pending.pop()
    if name not in needed:
      needed.add(name)
      pending.extend(inputs[name])
  return needed


def _initialise_first(graph: tf.compat.v1.GraphDef, initialise: str) -> None:
  """Makes every node that `initialise` does not need wait for it."""
  needed = _needed_for(graph, [initialise])
  for node in graph.node:
    if node.name not in needed and node.op != 'Placeholder':
      node.input.append(f'^{initialise}')


def _make_resources_private(graph: tf.compat.v1.GraphDef) -> None:
  bodies = [function.node_def for function in graph.library.function]
  for node in (node for body in [graph.node, *bodies] for node in body):
    if node.op == 'VarHandleOp':
      node.attr['shared_name'].s = _ANONYMOUS
    elif 'shared_name' in node.attr:
      node.attr['shared_name'].s = b''
      if 'use_node_name_sharing' in node.attr:
        node.attr['use_node_name_sharing'].b = False


def _fill_when_needed(graph: tf.compat.v1.GraphDef) -> None:
  """Makes large tensors of one number, as zeros are, anew whenever they are needed.

  As constants, which TensorFlow's optimiser would make of them too, they would stay in memory as
  long as their function.
  """
  _fill_in(graph.node, '')
  for function in graph.library.function:
    _fill_in(function.node_def, ':output:0')


def _fill_in(nodes, output: str) -> None:
  """Does so among the nodes of one body, in which a node's value is called `<name><output>`."""
  constants = {node.name: node for node in nodes if node.op == 'Const'}
  for node in list(nodes):
    if node.op == 'Const':
      _to_fill(nodes, node, output)
    elif node.op == 'Fill' and {_node_of(name) for name in node.input[:2]} <= constants.keys():
      dims = tf.make_ndarray(constants[_node_of(node.input[0])].attr['value'].tensor)
      if math.prod(dims.tolist()) >= _LARGE_CONSTANT:
        _hide_number(nodes, node, output)


def _to_fill(nodes, node, output: str) -> None:
  """Makes a constant that holds one number many times an operation that fills."""
  proto = node.attr['value'].tensor
  shape = [dimension.size for dimension in proto.tensor_shape.dim]
  stored = [values for field, values in proto.ListFields() if field.name.endswith('_val')]
  if math.prod(shape) < _LARGE_CONSTANT or [len(values) for values in stored] != [1]:
    return
  dims = tf.compat.v1.AttrValue(tensor=tf.make_tensor_proto(shape, tf.int64))
  number = tf.compat.v1.AttrValue(tensor=proto)
  number.tensor.ClearField('tensor_shape')
  dtype = node.attr['dtype']
  nodes.add(name=f'{node.name}/dims', op='Const', attr={'value': dims, 'dtype': _INT64})
  nodes.add(name=f'{node.name}/number', op='Const', attr={'value': number, 'dtype': dtype})
  node.op = 'Fill'
  node.input[:] = [f'{node.name}/dims{output}', f'{node.name}/number{output}', *node.input]
  node.attr['T'].CopyFrom(dtype)
  node.attr['index_type'].CopyFrom(_INT64)
  for name in ('value', 'dtype'):
    del node.attr[name]
  _hide_number(nodes, node, output)


def _hide_number(nodes, fill, output: str) -> None:
  """Hides from TensorFlow's optimiser that it knows what is filled in."""
  hidden = nodes.add(name=f'{fill.name}/hidden', op='PlaceholderWithDefault')
  hidden.input.append(fill.input[1])
  hidden.attr['dtype'].CopyFrom(fill.attr['T'])
  hidden.attr['shape'].shape.SetInParent()
  fill.input[1] = f'{hidden.name}{output}'


def _rename_functions(graph: tf.compat.v1.GraphDef) -> None:
  """Appends a number of its own to the name of each function of the library."""
  number = next(_numbers)
  names = [function.signature.name for function in graph.library.function]
  content.rename_functions(graph, {name: f'{name}_piece_{number}' for name in names})


class Piece:
  """One TensorFlow computation, callable inside a `tf.function` on flat tensors."""

  def __init__(self, proto):
    """Prepares `proto`, a computation proto of the kind `tensorflow`."""
    function_type = tff.types.deserialize_type(proto.type)
    proto = proto.tensorflow
    self.specs = [leaf_spec(leaf) for leaf in leaf_types(function_type.result)]
    self._inputs = binding_names(proto.parameter) if proto.HasField('parameter') else []
    self._outputs = binding_names(proto.result)
    self._token = proto.session_token_tensor_name
    graph = tf.compat.v1.GraphDef()
    proto.graph_def.Unpack(graph)
    if proto.initialize_op:
      _initialise_first(graph, _node_of(proto.initialize_op))
    dataset_loops.unroll_reductions(graph)
    _fill_when_needed(graph)
    _make_resources_private(graph)
    _rename_functions(graph)
    needed = _needed_for(graph, [_node_of(name) for name in self._outputs])
    self._fed = {node.name for node in graph.node if node.op == 'Placeholder'} & needed
    self._graph = _pruned(graph, needed)
    names = _register(self._graph.library)
    weakref.finalize(self, _forget, names)

  def __call__(self, args: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Adds the computation to the current graph.

    Args:
      args: the parameter's leaves, flattened.

    Returns:
      The result's leaves, flattened, with the shapes that the computation's type promises.
    """
    feeds = dict(zip(self._inputs, args))
    if not self._outputs:
      return []
    input_map = {
      name: _in_this_graph(value) for name, value in feeds.items() if _node_of(name) in self._fed
    }
    if _node_of(self._token) in self._fed:
      input_map[self._token] = tf.constant('fused')
    results = tf.graph_util.import_graph_def(
      self._graph, input_map=input_map, return_elements=self._outputs, name='piece'
    )
    for result, spec in zip(results, self.specs):
      result.set_shape(spec.shape)
    return results


def _in_this_graph(value) -> tf.Tensor:
  """The value as a tensor of the graph that is being built, which alone can be mapped to."""
  if getattr(value, 'graph', None) is tf.compat.v1.get_default_graph():
    return value
  return tf.identity(value)


def _pruned(graph, needed: set[str]):
  """The graph's nodes of the given names but for placeholders."""
  kept = tf.compat.v1.GraphDef(versions=graph.versions, library=graph.library)
  dropped = {node.name for node in graph.node if node.op == 'Placeholder'}
  for node in graph.node:
    if node.name in needed and node.name not in dropped:
      inputs = [name for name in node.input if name[:1] != '^' or name[1:] not in dropped]
      copy = kept.node.add()
      copy.CopyFrom(node)
      copy.input[:] = inputs
      copy.attr.pop('_class', None)  # asks for the device of a node that may be gone
  return kept


def _register(library) -> list[str]:
  """Makes the renamed functions known to the runtime: importing a graph only tells the graph."""
  for function in library.function:
    context.context().add_function_def(function)
  return [function.signature.name for function in library.function]


def _forget(names: Iterable[str]) -> None:
  for name in names:
    context.context().remove_function(name)


_pieces: contextvars.ContextVar[dict[bytes, Piece]] = contextvars.ContextVar('pieces')


@contextlib.contextmanager
def pieces() -> Iterator[dict[bytes, Piece]]:
  """Where `piece_of` may be called; gives the pieces, to be kept as long as what they built."""
  token = _pieces.set({})
  try:
    yield _pieces.get()
  finally:
    _pieces.reset(token)


def piece_of(proto) -> Piece:
  """The piece for a computation proto; one per distinct proto of the `pieces` around."""
  known = _pieces.get()
  key = hashlib.sha256(proto.SerializeToString(deterministic=True)).digest()
  if key not in known:
    known[key] = Piece(proto)
  return known[key]


def appends_rows(proto, leaves: int) -> bool:
  """Whether a computation `(accumulator, value) -> accumulator` only appends rows.

  That is: each of its `leaves` results is the concatenation along the first dimension of the same
  leaf of the accumulator with something that does not depend on the accumulator.
  """
  proto = proto.tensorflow
  graph = tf.compat.v1.GraphDef()
  proto.graph_def.Unpack(graph)
  nodes = {node.name: node for node in graph.node}
  accumulator = [_node_of(name) for name in binding_names(proto.parameter)[:leaves]]
  for own, result in zip(accumulator, binding_names(proto.result)):
    node = _behind_identities(nodes, result)
    if node.op != 'ConcatV2' or len(node.input) != 3:
      return False
    first, second, axis = node.input
    axis = nodes[_node_of(axis)]
    if axis.op != 'Const' or tf.make_ndarray(axis.attr['value'].tensor) != 0:
      return False
    if _behind_identities(nodes, first).name != own:
      return False
    if not _needed_for(graph, [_node_of(second)]).isdisjoint(accumulator):
      return False
  return not proto.initialize_op


def _behind_identities(nodes, name: str):
  node = nodes[_node_of(name)]
  while node.op == 'Identity' and len(node.input) == 1:
    node = nodes[_node_of(node.input[0])]
  return node

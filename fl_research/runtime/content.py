"""What a computation says, whatever TensorFlow called the functions in its graphs.

TensorFlow numbers the functions of all graphs of a process, so that building the same computation
again gives other names, and in another order. Here they are named by where they are called first.
"""

from collections.abc import Iterator
import hashlib

import tensorflow as tf

_TENSORFLOW = 'tensorflow_federated.v0.TensorFlow'


def digest(proto) -> bytes:
  """The same bytes for two computation protos that do the same in the same way."""
  copy = type(proto)()
  copy.CopyFrom(proto)
  known: dict[bytes, bytes] = {}
  for tensorflow in _tensorflow_parts(copy):
    packed = tensorflow.graph_def.value
    if packed not in known:
      known[packed] = _without_names(packed)
    tensorflow.graph_def.value = known[packed]
  return hashlib.sha256(copy.SerializeToString(deterministic=True)).digest()


def _without_names(packed: bytes) -> bytes:
  graph = tf.compat.v1.GraphDef.FromString(packed)
  if graph.library.function:
    names = _by_first_call(graph)
    _forget_numbers(graph, names)
    rename_functions(graph, names)
    _sort(graph)
  return graph.SerializeToString(deterministic=True)


def _tensorflow_parts(message) -> Iterator:
  if message.DESCRIPTOR.full_name == _TENSORFLOW:
    yield message
    return
  for field, value in message.ListFields():
    if field.type == field.TYPE_MESSAGE and field.name != 'type':  # Types hold no graphs.
      for part in value if field.label == field.LABEL_REPEATED else [value]:
        yield from _tensorflow_parts(part)


def _by_first_call(graph) -> dict[str, str]:
  """A new name for each function of the library."""
  bodies = {function.signature.name: function for function in graph.library.function}
  gradients = {gradient.function_name: gradient for gradient in graph.library.gradient}
  found: dict[str, str] = {}

  def visit(nodes):
    for name in called(nodes):
      if name in bodies and name not in found:
        found[name] = f'function_{len(found)}'
        visit(bodies[name].node_def)
        if name in gradients and gradients[name].gradient_func not in found:
          found[gradients[name].gradient_func] = f'function_{len(found)}'

  visit(graph.node)
  for name in bodies:  # what nobody calls
    found.setdefault(name, f'function_{len(found)}')
  return found


def called(nodes) -> Iterator[str]:
  """The functions that nodes call, or are, in order."""
  for node in nodes:
    yield node.op
    for _, attribute in sorted(node.attr.items()):
      for function in [attribute.func, *attribute.list.func]:
        if function.name:
          yield function.name


def rename_functions(graph, renamed: dict[str, str]) -> None:
  """Gives functions of a graph's library other names, there and wherever they are called."""
  library = graph.library

  def rename_node(node):
    node.op = renamed.get(node.op, node.op)
    for attribute in node.attr.values():
      for function in [attribute.func, *attribute.list.func]:
        if function.name in renamed:
          function.name = renamed[function.name]

  for function in library.function:
    function.signature.name = renamed[function.signature.name]
    for node in function.node_def:
      rename_node(node)
  for gradient in library.gradient:
    gradient.function_name = renamed.get(gradient.function_name, gradient.function_name)
    gradient.gradient_func = renamed.get(gradient.gradient_func, gradient.gradient_func)
  for node in graph.node:
    rename_node(node)


def _forget_numbers(graph, names: dict[str, str]) -> None:
  """Takes the functions' numbers out of all else that is called after them."""
  for function in graph.library.function:
    own = function.signature.name
    for argument in function.signature.input_arg:
      argument.name = argument.name.replace(own, names[own])
  for nodes in [graph.node, *(function.node_def for function in graph.library.function)]:
    for node in nodes:
      node.attr.pop('_gradient_op_type', None)  # the name of a Python function


def _sort(graph) -> None:
  functions = sorted(graph.library.function, key=lambda function: function.signature.name)
  copies = [type(function).FromString(function.SerializeToString()) for function in functions]
  del graph.library.function[:]
  graph.library.function.extend(copies)

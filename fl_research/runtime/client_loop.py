"""A step at the clients: one TensorFlow function that loops over the clients of a chunk.

The cohort's values lie side by side, chunk after chunk, and each chunk is given all of them and
where it begins: putting them there costs as much for eight chunks as for one. Of a cohort that is
too large for that, each slice of a chunk is given its own (see `chunk_runs`).

    for each client of the chunk, in the cohort's order:
      value = its own computations on its part of the data and on what the server sent
      accumulator = accumulate(accumulator, value)          for every aggregation
      keep what later steps, or the caller, need of it

An aggregation whose accumulator only grows (`accumulate` is a concatenation, the way to bring all
clients' values to the server) is not folded, which would copy the whole accumulator for every
client, but collected and joined once at the end.
"""

from collections.abc import Sequence
import functools
from typing import Any, Optional

import tensorflow as tf
import tensorflow_federated as tff

from fl_research.runtime import (
  chunk_runs,
  expressions,
  flat_function,
  graph_functions,
  layouts,
  server_steps,
)
from fl_research.runtime import program as programs


class JoinShape(server_steps.ServerShape):
  """An accumulator that only grows, collected as rows."""

  def __init__(self, type_signature):
    super().__init__(type_signature)
    self.layouts = [layouts.JoinedRows(spec) for spec in self.specs]

  def empty(self) -> expressions.Value:
    """In a graph: the accumulator without rows."""
    return self.value([tf.zeros([0, *spec.shape[1:]], spec.dtype) for spec in self.specs])


def only_grows(aggregation: programs.Aggregation) -> bool:
  """Whether `accumulate` does nothing but append rows of the value to every leaf."""
  block = _called(aggregation.accumulate)
  if not isinstance(block, tff.framework.CompiledComputation):
    return False
  if block.proto.WhichOneof('computation') != 'tensorflow':
    return False
  leaves = graph_functions.leaf_types(aggregation.accumulator_type)
  return all(map(_is_rows, leaves)) and graph_functions.appends_rows(block.proto, len(leaves))


def _is_rows(leaf_type) -> bool:
  if not isinstance(leaf_type, tff.TensorType) or not leaf_type.shape:
    return False
  return leaf_type.shape[0] is None and None not in leaf_type.shape[1:]


def _called(block):
  """The function that `a -> let b = function(a) in b` calls, or the block itself."""
  framework = tff.framework
  if not isinstance(block, framework.Lambda) or not isinstance(block.result, framework.Block):
    return block
  (name, call), *more = block.result.locals
  result = block.result.result
  if more or not isinstance(result, framework.Reference) or result.name != name:
    return block
  argument = getattr(call, 'argument', None)
  if isinstance(argument, framework.Reference) and argument.name == block.parameter_name:
    return call.function
  return block


class ClientLoop:
  """The loop as a function of flat tensors.

  The function takes the place of the chunk's first client in the cohort's arguments, the number of
  its clients and the tensors of every input; it returns the leaves of the folded accumulators, then
  the tensors of what was collected: the growing accumulators and the outputs.

  Attributes:
    inputs: the keys of the inputs.
    arguments: those of them that are the cohort's arguments; others at the clients are what an
      earlier step left there, by chunk.
    shapes: for each of them, `ServerShape` or `ClientShape`.
    folded, joined: the aggregations of either kind.
    folded_shapes: the shapes of the folded accumulators.
    collectors: a layout for every leaf that is collected.
    traces: how often the loop was traced.
  """

  def __init__(self, program: programs.Program, step: programs.Step):
    self.program = program
    self.step = step
    self.inputs = step.inputs
    parameters = {key for key, _ in program.parameters}
    self.arguments = program.at_clients & parameters & set(step.inputs)
    self.shapes = [server_steps.shape_of(program, key) for key in step.inputs]
    self.folded = [a for a in step.aggregations if not only_grows(a)]
    self.joined = [a for a in step.aggregations if only_grows(a)]
    self.folded_shapes = [server_steps.ServerShape(a.accumulator_type) for a in self.folded]
    self._joined_shapes = [JoinShape(a.accumulator_type) for a in self.joined]
    self.output_shapes = [server_steps.ClientShape(program.types[key]) for key in step.outputs]
    collected: list[Any] = [*self._joined_shapes, *self.output_shapes]
    self.collectors = [layout for shape in collected for layout in shape.layouts]
    self.traces = 0

  def function(self):
    """The loop, traced once for any number of clients and rows."""
    number = tf.TensorSpec([], tf.int32)
    signature = [number, number, *server_steps.signature_of(self.shapes)]
    return flat_function.FlatFunction(self._loop, signature)

  def _loop(self, first, count, *tensors):
    parts = list(zip(self.inputs, self.shapes, server_steps.split(self.shapes, tensors)))
    at_clients = self.program.at_clients
    differing = [part for part in parts if part[0] in at_clients]
    known = {key: shape.value(own) for key, shape, own in parts if key not in at_clients}

    def take(index):
      place = functools.cache(lambda of_all: layouts.Place(first + index if of_all else index))
      return {key: shape.take(own, place(key in self.arguments)) for key, shape, own in differing}

    return self.build(count, count, known, take, self.collectors)

  def build(self, count, capacity, known, take, collectors) -> list[tf.Tensor]:
    """Adds the loop to the current graph.

    Args:
      count: number of clients.
      capacity: number of clients that what is collected has room for.
      known: the values, by key, that the server sent.
      take: from a client's index in the chunk to the values, by key, that differ by client.
      collectors: a layout for each leaf that is collected.
    """
    self.traces += 1

    def body(index, accumulators, arrays):
      names = server_steps.names_of(self.program, {**known, **take(index)})
      for name, block in self.step.calls:
        names[name] = expressions.evaluate(block, names)
      new = self._fold(accumulators, names)
      leaves = self._joined_rows(names)
      leaves += [leaf for key in self.step.outputs for leaf in expressions.flatten(names[key])]
      written = zip(collectors, arrays, leaves)
      return index + 1, new, [layout.write(own, index, leaf) for layout, own, leaf in written]

    zeros = [leaf for a in self.folded for leaf in expressions.flatten(known[a.zero_key])]
    arrays = [layout.arrays(capacity) for layout in collectors]
    invariants = [spec.shape for spec in server_steps.signature_of(self.folded_shapes)]
    _, accumulators, arrays = tf.while_loop(
      lambda index, *_: index < count,
      body,
      (tf.constant(0), zeros, arrays),
      shape_invariants=(
        tf.TensorShape([]),
        invariants,
        tf.nest.map_structure(lambda _: None, arrays),
      ),
      parallel_iterations=1,
    )
    collected = [layout.finish(own) for layout, own in zip(collectors, arrays)]
    return accumulators + [tensor for own in collected for tensor in own]

  def _fold(self, accumulators, names) -> list[tf.Tensor]:
    new = []
    parts = server_steps.split(self.folded_shapes, accumulators)
    for aggregation, shape, leaves in zip(self.folded, self.folded_shapes, parts):
      result = _accumulate(aggregation, shape.value(leaves), names)
      for leaf, spec in zip(expressions.flatten(result), shape.specs):
        new.append(tf.ensure_shape(leaf, spec.shape))
    return new

  def _joined_rows(self, names) -> list[tf.Tensor]:
    return [
      leaf
      for aggregation, shape in zip(self.joined, self._joined_shapes)
      for leaf in expressions.flatten(_accumulate(aggregation, shape.empty(), names))
    ]

  @property
  def signature(self) -> chunk_runs.LoopSignature:
    """What its function takes and gives."""
    zeros = [(a.zero_key, len(s.specs)) for a, s in zip(self.folded, self.folded_shapes)]
    return chunk_runs.LoopSignature(tuple(self.inputs), tuple(zeros))

  def split_collected(self, collected: Sequence[tf.Tensor]):
    """What was collected as (the joined leaves, tensors by output key)."""
    number = sum(len(shape.layouts) for shape in self._joined_shapes)
    return collected[:number], server_steps.split(self.output_shapes, collected[number:])


def _accumulate(aggregation, accumulator, names) -> expressions.Value:
  accumulate = expressions.evaluate(aggregation.accumulate, names)
  value = expressions.evaluate(aggregation.value, names)
  return accumulate(expressions.Struct([(None, accumulator), (None, value)]))


class Totals:
  """Brings the chunks' results together: merges what was folded, joins what was collected."""

  def __init__(self, loop: ClientLoop):
    self._loop = loop

  @functools.cached_property
  def _merge(self) -> flat_function.FlatFunction:
    """Made for the first cohort that is in several chunks."""
    with graph_functions.pieces() as self._pieces:
      return server_steps.merge_function(self._loop.folded)

  def merge(
    self, total: Optional[Sequence[tf.Tensor]], folded: Sequence[tf.Tensor]
  ) -> list[tf.Tensor]:
    """The leaves of the folded accumulators up to the next chunk, in the chunks' order.

    Args:
      total: those up to the chunk before; None for the first.
      folded: the chunk's own.
    """
    if total is None or not self._loop.folded:
      return list(folded)
    return list(self._merge(*total, *folded))

  def join(
    self, zeros: Sequence[tf.Tensor], rows: Sequence[Sequence[tf.Tensor]]
  ) -> list[tf.Tensor]:
    """The leaves of the growing accumulators: their zeros, then the chunks' rows in order."""
    return [_concatenated([zero, *own]) for zero, *own in zip(zeros, *rows)]


def _concatenated(parts: Sequence[tf.Tensor]) -> tf.Tensor:
  parts = [part for part in parts if part.shape[0]] or parts[:1]
  return parts[0] if len(parts) == 1 else tf.concat(parts, 0)

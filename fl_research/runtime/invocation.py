"""Compiled computations, and the calls of them.

Compiling turns a computation into TensorFlow functions once; a call takes Python values apart,
shares the clients among chunks, runs the functions and puts the result together.
"""

from collections.abc import Iterator, Sequence
import concurrent.futures
import functools
from typing import Any, Optional

from absl import logging
import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.runtime import (
  chunk_runs,
  chunks,
  client_loop,
  errors,
  expressions,
  flat_function,
  graph_functions,
  layouts,
  padded,
  python_values,
  secure_sums,
  server_steps,
  trial,
)
from fl_research.runtime import program as programs


class Local:
  """A TensorFlow computation without placements, compiled."""

  client_steps = ()

  def __init__(self, proto, type_signature):
    parameter_type = type_signature.parameter
    self._leaf_types = graph_functions.leaf_types(parameter_type)
    self._piece = piece = graph_functions.Piece(proto)
    signature = [graph_functions.leaf_spec(leaf) for leaf in self._leaf_types]
    self._function = flat_function.FlatFunction(lambda *tensors: piece(tensors), signature)
    self._parameter_type = parameter_type
    self._result_type = type_signature.result

  def run(self, argument, number_of_chunks, workers, summer):
    del number_of_chunks, workers, summer
    leaves = (
      [] if self._parameter_type is None else python_values.flatten(argument, self._parameter_type)
    )
    tensors = [python_values.as_tensor(*both) for both in zip(leaves, self._leaf_types)]
    return _to_python(iter(_run(self._function, tensors)), self._result_type)


def _to_python(tensors, type_signature):
  """The Struct of NumPy values for the next tensors of an iterator."""
  if isinstance(type_signature, tff.FederatedType):
    return _to_python(tensors, type_signature.member)
  if isinstance(type_signature, tff.StructType):
    elements = tff.structure.iter_elements(type_signature)
    return expressions.Struct([(name, _to_python(tensors, part)) for name, part in elements])
  return python_values.from_tensor(next(tensors), type_signature)


class ClientWork:
  """A step at the clients, compiled: its plain loop, and XLA's where that is wanted."""

  def __init__(self, program: programs.Program, step: programs.Step, jit: str):
    self.step = step
    self.loop = client_loop.ClientLoop(program, step)
    self.totals = client_loop.Totals(self.loop)
    self.function = self.loop.function()
    self._padded: Optional[padded.PaddedLoop] = None
    self.choice: Optional[trial.Choice] = trial.Choice(False, f'jit is {jit}')
    if jit != 'off':
      self._try_padded(jit)

  def _try_padded(self, jit: str) -> None:
    try:
      self._padded = padded.PaddedLoop(self.loop)
      self.choice = trial.Choice(True, 'jit is on') if jit == 'on' else None
      if jit == 'auto' and not self._padded.worth_a_trial:
        self.choice = trial.Choice(False, "XLA's gradient of a convolution is slower")
    except expressions.NotReducible as reason:
      self.choice = trial.Choice(False, f'XLA cannot pad it: {reason}')

  @functools.cached_property
  def exported(self) -> flat_function.Exported:
    """The plain loop, for other processes."""
    return self.function.exported()

  @property
  def compilations(self) -> int:
    return self.loop.traces + (self._padded.compilations if self._padded else 0)

  def prepare(self, call: 'Call') -> chunk_runs.RunSlice:
    """What runs the loop in a call; holds the trial if it is due."""
    xla = self._padded
    if xla is None or not call.chunks or not (self.choice is None or self.choice.jit):
      return self._plain(call)
    leaves = [
      call.leaves(key) if key in self.loop.arguments else call.tensors[key]
      for key in self.loop.inputs
    ]
    [*pieces] = (chunk.slices[0] for chunk in call.chunks)  # Nothing is sliced for XLA.
    arranged = xla.arrange([len(piece.share) for piece in pieces], leaves)
    jit = lambda chunk, _, count, __: xla.run(chunk.slices[0].first, count, arranged)
    if self.choice is None:
      plain, first = self._plain(call), call.chunks[0]
      self.choice = trial.choose(
        lambda count: plain(first, 0, count, {}),
        lambda count: jit(first, 0, count, {}),
        len(pieces[0].share),
      )
      logging.info('jit: %s', self.choice)
    return jit if self.choice.jit else self._plain(call)

  def _plain(self, call: 'Call') -> chunk_runs.RunSlice:
    signature, arguments = self.loop.signature, self.loop.arguments
    known = {key: call.tensors[key] for key in self.loop.inputs if key in call.tensors}
    if not call.sliced:
      known.update({key: self.arranged(call, key) for key in arguments})

    def run(chunk, number, count, accumulators):
      piece = chunk.slices[number]
      values = {**known, **call.left_at(chunk.index, number), **accumulators}
      if call.sliced:
        values.update({key: self.arranged(call, key, piece) for key in arguments})
      first = tf.constant(0 if call.sliced else piece.first)
      return list(self.function(first, tf.constant(count), *signature.arguments(values)))

    return run

  def arranged(
    self, call: 'Call', key: programs.Key, piece: Optional[chunk_runs.Slice] = None
  ) -> list[tf.Tensor]:
    """The tensors of an argument at all clients, or at those of a slice."""
    return server_steps.shape_of(self.loop.program, key).arrange(call.leaves(key, piece))


class Threads:
  """Has a call's chunks computed by threads of this process."""

  def __init__(self, number: int):
    self._pool = concurrent.futures.ThreadPoolExecutor(number)

  def results(self, work: ClientWork, call: 'Call') -> Iterator[chunk_runs.ChunkResults]:
    """What each chunk gives, in their order."""
    run, signature = work.prepare(call), work.loop.signature
    of_chunk = lambda chunk: chunk_runs.run_chunk(run, signature, chunk)
    if len(call.chunks) > 1:
      return self._pool.map(of_chunk, call.chunks)
    return map(of_chunk, call.chunks)


class Federated:
  """A federated computation, compiled: its steps as TensorFlow functions, run by chunks."""

  def __init__(self, computation, jit: str, keeps_secure_sums: bool):
    self._may_slice = jit == 'off'
    self._program = programs.program_of(computation, keeps_secure_sums)
    self._steps: list[Any] = []
    with graph_functions.pieces() as self._pieces:
      for step in self._program.steps:
        if step.at_clients:
          self._steps.append(ClientWork(self._program, step, jit))
        elif step.outputs:
          self._steps.append((step, server_steps.server_function(self._program, step)))

  def run(self, argument, number_of_chunks: int, workers, summer: Optional[secure_sums.Summer]):
    """Runs the computation on a Python argument; returns Structs of NumPy values.

    Args:
      argument: the argument.
      number_of_chunks: into how many chunks its cohort is cut.
      workers: who computes the chunks.
      summer: who adds up what secure sums there are.
    """
    call = Call(self._program, argument, number_of_chunks, self._may_slice)
    for step in self._steps:
      if isinstance(step, ClientWork):
        call.run_clients(step, workers)
        if step.step.secure_sums:
          assert summer is not None
          call.add_up(step.step.secure_sums, summer)
      else:
        call.run_server(*step)
    return call.result()

  @property
  def client_steps(self) -> list[ClientWork]:
    return [step for step in self._steps if isinstance(step, ClientWork)]


class Call:
  """One call of a federated computation: the values of its keys so far.

  Attributes:
    tensors: the leaves of the values at the server, by key.
    arguments: which of the cohort's arguments a key is.
    by_chunk: the tensors, by key, chunk and slice, of the values that client steps left at the
      clients.
    cohort: the client-placed arguments.
    chunks: the parts of the cohort.
    sliced: whether the arguments are arranged for each slice, and not once for all clients.
  """

  def __init__(self, program, argument, number_of_chunks: int, may_slice: bool):
    self._program = program
    self.tensors: dict[programs.Key, list[tf.Tensor]] = {}
    self.by_chunk: dict[programs.Key, list[list[chunk_runs.Tensors]]] = {}
    self.arguments: dict[programs.Key, int] = {}
    values_at_clients: list[Any] = []
    types: list[tff.Type] = []
    for key, type_signature in program.parameters:
      part = _part(argument, key, program)
      member = server_steps.member_of(type_signature)
      if key in program.at_clients:
        self.arguments[key] = len(types)
        values_at_clients.append(part)
        types.append(member)
      else:
        leaves = zip(python_values.flatten(part, member), graph_functions.leaf_types(member))
        self.tensors[key] = [python_values.as_tensor(leaf, leaf_type) for leaf, leaf_type in leaves]
    self.cohort = chunks.Cohort(values_at_clients, types, number_of_chunks)
    made_when_due = [isinstance(a, chunks.Described) for a in self.cohort.arguments]
    self.sliced = may_slice and any(made_when_due)
    self.chunks = self.cohort.chunks(self.sliced)
    self._leaves: dict[programs.Key, list[layouts.RawLeaf]] = {}

  def leaves(
    self, key: programs.Key, piece: Optional[chunk_runs.Slice] = None
  ) -> list[layouts.RawLeaf]:
    """The raw leaves of a client-placed argument, chunk after chunk, or those of a slice."""
    argument = self.cohort.arguments[self.arguments[key]]
    if piece is not None:
      return argument.leaves_of(piece)
    if key not in self._leaves:
      self._leaves[key] = argument.leaves()
    return self._leaves[key]

  def left_at(self, chunk: int, number: int) -> dict[programs.Key, chunk_runs.Tensors]:
    """What earlier steps left at the clients of a slice, by key."""
    return {key: left[chunk][number] for key, left in self.by_chunk.items()}

  def run_server(self, step: programs.Step, function: flat_function.FlatFunction) -> None:
    inputs = [tensor for key in step.inputs for tensor in self.tensors[key]]
    shapes = [server_steps.shape_of(self._program, key) for key in step.outputs]
    self.tensors.update(zip(step.outputs, server_steps.split(shapes, _run(function, inputs))))

  def run_clients(self, compiled: ClientWork, workers) -> None:
    """Runs a step at the clients.

    Args:
      compiled: the step.
      workers: who computes the chunks, e.g. `Threads`; their `results` come in the chunks' order.
    """
    folded: Optional[list[tf.Tensor]] = None
    collected = []
    # Accumulators are as large as models: each is merged, and dropped, as soon as it is its turn.
    for own_folded, of_slices in workers.results(compiled, self):
      folded = compiled.totals.merge(folded, own_folded)
      collected.append([compiled.loop.split_collected(tensors) for tensors in of_slices])
    self._keep(compiled, folded, collected)

  def _keep(self, compiled: ClientWork, folded: Optional[list[tf.Tensor]], collected) -> None:
    loop, totals = compiled.loop, compiled.totals
    if folded is None:
      folded = [leaf for a in loop.folded for leaf in self.tensors[a.zero_key]]
    zeros = [leaf for a in loop.joined for leaf in self.tensors[a.zero_key]]
    rows = [joined for of_slices in collected for joined, _ in of_slices]
    joined = totals.join(zeros, rows)
    for aggregations, leaves in ((loop.folded, folded), (loop.joined, joined)):
      shapes = [server_steps.ServerShape(a.accumulator_type) for a in aggregations]
      keys = [a.accumulator_key for a in aggregations]
      self.tensors.update(zip(keys, server_steps.split(shapes, leaves)))
    for index, key in enumerate(compiled.step.outputs):
      self.by_chunk[key] = [[outputs[index] for _, outputs in of_slices] for of_slices in collected]

  def add_up(self, sums: Sequence[programs.SecureSum], summer: secure_sums.Summer) -> None:
    """Has the secure sums of a step at the clients computed, all of them at once."""
    shapes = [server_steps.shape_of(self._program, secure.key) for secure in sums]
    specs = server_steps.signature_of(shapes)
    totals = [np.zeros(spec.shape, spec.dtype.as_numpy_dtype) for spec in specs]
    if self.cohort.size:
      bounds = tuple(bound for secure in sums for bound in secure.bounds)
      by_sum = [self._rows(secure.terms_key) for secure in sums]
      rows = [[leaf for own in of_client for leaf in own] for of_client in zip(*by_sum)]
      totals = secure_sums.totals(bounds, rows, summer)
    leaves = server_steps.split(shapes, [tf.constant(total) for total in totals])
    self.tensors.update(zip((secure.key for secure in sums), leaves))

  def result(self):
    """The result as Structs of NumPy values; of values at the clients, the leaves of each."""
    return self._assemble(self._program.result)

  def _assemble(self, block):
    framework = tff.framework
    if isinstance(block, framework.Struct):
      elements = tff.structure.iter_elements(block)
      return expressions.Struct([(name, self._assemble(member)) for name, member in elements])
    if isinstance(block, framework.Literal):
      return block.value
    path = []
    while isinstance(block, framework.Selection):
      path.append(block.as_index())
      block = block.source
    return self._select(block.name, path[::-1], self._program.parameter_type)

  def _select(self, key: programs.Key, path: Sequence[int], type_signature):
    """The value of `key[path[0]]...`, which may be a part, or hold several, of what is known."""
    if key in self._program.types:
      value = self._value(key)
      for index in path:
        value = value[index]
      return value
    if path:
      return self._select(f'{key}/{path[0]}', path[1:], type_signature[path[0]])
    elements = tff.structure.iter_elements(type_signature)
    return expressions.Struct(
      [(n, self._select(f'{key}/{i}', [], part)) for i, (n, part) in enumerate(elements)]
    )

  def _value(self, key: programs.Key):
    shape = server_steps.shape_of(self._program, key)
    if key in self.tensors:
      return _to_python(iter(self.tensors[key]), shape.type)
    return self._rows(key)

  def _rows(self, key: programs.Key) -> list[tuple]:
    """The leaves of each client's value, in the cohort's order."""
    shape = server_steps.shape_of(self._program, key)
    if key in self.by_chunk:
      pieces = (tensors for of_slices in self.by_chunk[key] for tensors in of_slices)
      rows = [row for tensors in pieces for row in shape.rows(tensors)]
    elif self.chunks:
      rows = shape.rows(shape.arrange(self.leaves(key)))
    else:
      rows = []
    positions = chunks.in_chunks(range(self.cohort.size), self.cohort.shares)
    ordered: list[tuple] = [()] * self.cohort.size
    for position, row in zip(positions, rows):
      ordered[position] = row
    return ordered


def _part(argument, key: programs.Key, program: programs.Program):
  """The part of a Python argument that a parameter's key names."""
  type_signature: Any = program.parameter_type
  for index in key.split('/')[1:]:
    argument = python_values.members(argument, type_signature)[int(index)]
    type_signature = type_signature[int(index)]
  return argument


def _run(function: flat_function.FlatFunction, inputs) -> Sequence[tf.Tensor]:
  try:
    return function(*inputs)
  except tf.errors.OpError as error:
    raise errors.ComputationError(errors.message_of(error)) from error

"""Compiled computations, and the calls of them.

Compiling turns a computation into TensorFlow functions once; a call takes Python values apart,
shares the clients among chunks, runs the functions and puts the result together.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any, Optional

from absl import logging
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.runtime import (
  chunks,
  client_loop,
  errors,
  expressions,
  flat_function,
  graph_functions,
  layouts,
  padded,
  python_values,
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

  def run(self, argument, pool):
    del pool
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
    self._function = self.loop.function()
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

  @property
  def compilations(self) -> int:
    return self.loop.traces + (self._padded.compilations if self._padded else 0)

  def prepare(self, call: 'Call') -> 'RunChunk':
    """What runs the loop in a call; holds the trial if it is due."""
    xla = self._padded
    if xla is None or not call.chunks or not (self.choice is None or self.choice.jit):
      return self._plain(call)
    leaves = [
      call.leaves(key) if key in self.loop.arguments else call.tensors[key]
      for key in self.loop.inputs
    ]
    arranged = xla.arrange([chunk.count for chunk in call.chunks], leaves)
    jit = lambda chunk, count: xla.run(chunk.first, count, arranged)
    if self.choice is None:
      plain, first = self._plain(call), call.chunks[0]
      self.choice = trial.choose(
        lambda count: plain(first, count), lambda count: jit(first, count), first.count
      )
      logging.info('jit: %s', self.choice)
    return jit if self.choice.jit else self._plain(call)

  def _plain(self, call: 'Call') -> 'RunChunk':
    loop = self.loop
    of_all = {
      key: shape.arrange(call.leaves(key)) if key in loop.arguments else call.tensors[key]
      for key, shape in zip(loop.inputs, loop.shapes)
      if key not in call.by_chunk
    }

    def run(chunk: Chunk, count: int) -> list[tf.Tensor]:
      parts = [
        of_all[key] if key in of_all else call.by_chunk[key][chunk.index] for key in loop.inputs
      ]
      tensors = [tensor for part in parts for tensor in part]
      return list(self._function(tf.constant(chunk.first), tf.constant(count), *tensors))

    return run


@dataclasses.dataclass(frozen=True)
class Chunk:
  """A part of a cohort.

  Attributes:
    index: which part.
    first: the place of its first client, where the clients stand chunk after chunk.
    share: the positions of its clients in the cohort.
  """

  index: int
  first: int
  share: Sequence[int]

  @property
  def count(self) -> int:
    return len(self.share)


RunChunk = Callable[[Chunk, int], list[tf.Tensor]]
"""Gives the loop's results for the first so many clients of a chunk."""


class Federated:
  """A federated computation, compiled: its steps as TensorFlow functions, run by chunks."""

  def __init__(self, computation, number_of_chunks: int, jit: str):
    self._number_of_chunks = number_of_chunks
    self._program = programs.program_of(computation)
    self._steps: list[Any] = []
    with graph_functions.pieces() as self._pieces:
      for step in self._program.steps:
        if step.at_clients:
          self._steps.append(ClientWork(self._program, step, jit))
        elif step.outputs:
          self._steps.append((step, server_steps.server_function(self._program, step)))

  def run(self, argument, pool):
    """Runs the computation on a Python argument; returns Structs of NumPy values."""
    call = Call(self._program, argument, self._number_of_chunks, pool)
    for step in self._steps:
      if isinstance(step, ClientWork):
        call.run_clients(step)
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
    by_chunk: the tensors, by key and chunk, of the values that client steps left at the clients.
    cohort: the client-placed arguments.
    chunks: the parts of the cohort.
  """

  def __init__(self, program, argument, number_of_chunks: int, pool):
    self._program = program
    self._pool = pool
    self.tensors: dict[programs.Key, list[tf.Tensor]] = {}
    self.by_chunk: dict[programs.Key, list[list[tf.Tensor]]] = {}
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
    firsts = layouts.offsets_of([len(share) for share in self.cohort.shares])
    places = zip(range(number_of_chunks), firsts.tolist(), self.cohort.shares)
    self.chunks = [Chunk(*place) for place in places]
    self._leaves: dict[programs.Key, list[layouts.RawLeaf]] = {}

  def leaves(self, key: programs.Key) -> list[layouts.RawLeaf]:
    """The raw leaves of a client-placed argument, chunk after chunk."""
    if key not in self._leaves:
      self._leaves[key] = self.cohort.leaves(self.arguments[key])
    return self._leaves[key]

  def run_server(self, step: programs.Step, function: flat_function.FlatFunction) -> None:
    inputs = [tensor for key in step.inputs for tensor in self.tensors[key]]
    shapes = [server_steps.shape_of(self._program, key) for key in step.outputs]
    self.tensors.update(zip(step.outputs, server_steps.split(shapes, _run(function, inputs))))

  def run_clients(self, compiled: ClientWork) -> None:
    run = compiled.prepare(self)
    work = lambda chunk: _run_chunk(run, chunk)
    results = self._pool.map(work, self.chunks) if len(self.chunks) > 1 else map(work, self.chunks)
    folded: Optional[list[tf.Tensor]] = None
    rest = []
    # Accumulators are as large as models: each is merged, and dropped, as soon as it is its turn.
    for own_folded, *own_rest in map(compiled.loop.split_results, results):
      folded = compiled.totals.merge(folded, own_folded)
      rest.append(own_rest)
    self._keep(compiled, folded, rest)

  def _keep(self, compiled: ClientWork, folded: Optional[list[tf.Tensor]], rest) -> None:
    loop, totals = compiled.loop, compiled.totals
    if folded is None:
      folded = [leaf for a in loop.folded for leaf in self.tensors[a.zero_key]]
    zeros = [leaf for a in loop.joined for leaf in self.tensors[a.zero_key]]
    joined = totals.join(zeros, [[own[0] for own in joined] for joined, _ in rest])
    for aggregations, leaves in ((loop.folded, folded), (loop.joined, joined)):
      shapes = [server_steps.ServerShape(a.accumulator_type) for a in aggregations]
      keys = [a.accumulator_key for a in aggregations]
      self.tensors.update(zip(keys, server_steps.split(shapes, leaves)))
    for index, key in enumerate(compiled.step.outputs):
      self.by_chunk[key] = [outputs[index] for _, outputs in rest]

  def result(self):
    """The result as Structs of NumPy values, lists of them for values at the clients."""
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
    if key in self.by_chunk:
      rows = [row for tensors in self.by_chunk[key] for row in _rows(shape, tensors)]
    elif self.chunks:
      rows = _rows(shape, shape.arrange(self.leaves(key)))
    else:
      rows = []
    positions = chunks.in_chunks(range(self.cohort.size), self.cohort.shares)
    clients_values = [None] * self.cohort.size
    for position, row in zip(positions, rows or [()] * len(positions)):
      clients_values[position] = expressions.pack(shape.type, iter(row))
    return clients_values


def _part(argument, key: programs.Key, program: programs.Program):
  """The part of a Python argument that a parameter's key names."""
  type_signature: Any = program.parameter_type
  for index in key.split('/')[1:]:
    argument = python_values.members(argument, type_signature)[int(index)]
    type_signature = type_signature[int(index)]
  return argument


def _rows(shape: server_steps.ClientShape, tensors: Sequence[tf.Tensor]) -> list[tuple]:
  """The leaves of each client, from the tensors that stand for all of them."""
  parts = zip(shape.layouts, server_steps.split(shape.layouts, tensors))
  return list(zip(*(layout.split(own) for layout, own in parts)))


def _run(function: flat_function.FlatFunction, inputs) -> Sequence[tf.Tensor]:
  try:
    return function(*inputs)
  except tf.errors.OpError as error:
    raise errors.ComputationError(errors.message_of(error)) from error


def _run_chunk(run: RunChunk, chunk: Chunk) -> list[tf.Tensor]:
  devices = tf.config.list_logical_devices('GPU') or tf.config.list_logical_devices('CPU')
  try:
    with tf.device(devices[chunk.index % len(devices)].name):
      return run(chunk, chunk.count)
  except tf.errors.OpError as error:
    raise _client_error(run, chunk, error) from error


def _client_error(run: RunChunk, chunk: Chunk, error) -> errors.ComputationError:
  """The error of a chunk, with the first client at which it arises.

  The loop over the clients stops at the first failure, so the chunk's first `count` clients fail
  exactly if that client is among them: a search by halves finds it. A failure that does not repeat
  could be any client's.
  """
  fine, failing = 0, chunk.count
  if failing > 1 and _error_of(run, chunk, failing) is None:
    return errors.ComputationError(errors.message_of(error))
  while failing - fine > 1:
    count = (fine + failing) // 2
    earlier = _error_of(run, chunk, count)
    if earlier is None:
      fine = count
    else:
      failing, error = count, earlier
  return errors.ComputationError(errors.message_of(error), chunk.share[failing - 1])


def _error_of(run: RunChunk, chunk: Chunk, count: int) -> Optional[tf.errors.OpError]:
  """The error of the work of a chunk's first clients; None if there is none."""
  try:
    run(chunk, count)
  except tf.errors.OpError as error:
    return error
  return None

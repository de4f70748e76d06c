"""Compiled computations, and the calls of them.

Compiling turns a computation into TensorFlow functions once; a call takes Python values apart,
shares the clients among chunks, runs the functions and puts the result together.
"""

from collections.abc import Sequence
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
    self._function = flat_function.compile_flat(lambda *tensors: piece(tensors), signature)
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

  def prepare(self, chunks_inputs: Sequence['ChunkInputs']) -> None:
    """Before the chunks of a call run: makes room for them, and holds the trial if it is due."""
    xla = self._padded
    if xla is None or not chunks_inputs:
      return
    if self.choice is None or self.choice.jit:
      xla.grow([(inputs.count, inputs.leaves) for inputs in chunks_inputs])
    if self.choice is None:
      first = chunks_inputs[0]
      self.choice = trial.choose(
        lambda count: self._function(tf.constant(count), *first.tensors()),
        lambda count: xla.run(count, first.padded()),
        first.count,
      )
      logging.info('jit: %s', self.choice)

  def run(self, inputs: 'ChunkInputs', count: Optional[int] = None) -> list[tf.Tensor]:
    """The loop's results for the first `count` clients of a chunk, or all."""
    count = inputs.count if count is None else count
    if self._padded is not None and self.choice is not None and self.choice.jit:
      return self._padded.run(count, inputs.padded())
    return self._function(tf.constant(count), *inputs.tensors())


class ChunkInputs:
  """What a step's loop takes for one chunk: for each input tensors, or a client's raw leaves."""

  def __init__(self, loop: client_loop.ClientLoop, call: 'Call', chunk: int):
    self._loop = loop
    self._call = call
    self.chunk = chunk
    self.share = call.cohort.shares[chunk]
    self.count: int = len(self.share)

  @property
  def leaves(self) -> list[list[layouts.RawLeaf]]:
    """The raw leaves of the inputs that differ by client."""
    keys = [key for key in self._loop.inputs if key in self._call.arguments]
    return [self._call.leaves(key, self.chunk) for key in keys]

  def tensors(self) -> list[tf.Tensor]:
    result = []
    for key, shape in zip(self._loop.inputs, self._loop.shapes):
      if key in self._call.arguments:
        result += shape.arrange(self._call.leaves(key, self.chunk))
      elif key in self._call.by_chunk:
        result += self._call.by_chunk[key][self.chunk]
      else:
        result += self._call.tensors[key]
    return result

  def padded(self) -> list:
    return [
      self._call.leaves(key, self.chunk) if key in self._call.arguments else self._call.tensors[key]
      for key in self._loop.inputs
    ]


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
    self._leaves: dict[tuple[programs.Key, int], list[layouts.RawLeaf]] = {}

  def leaves(self, key: programs.Key, chunk: int) -> list[layouts.RawLeaf]:
    """The raw leaves of a client-placed argument in a chunk."""
    if (key, chunk) not in self._leaves:
      self._leaves[key, chunk] = self.cohort.leaves(self.arguments[key], chunk)
    return self._leaves[key, chunk]

  def run_server(self, step: programs.Step, function: flat_function.FlatFunction) -> None:
    inputs = [tensor for key in step.inputs for tensor in self.tensors[key]]
    shapes = [server_steps.shape_of(self._program, key) for key in step.outputs]
    self.tensors.update(zip(step.outputs, server_steps.split(shapes, _run(function, inputs))))

  def run_clients(self, compiled: ClientWork) -> None:
    chunks_inputs = [
      ChunkInputs(compiled.loop, self, chunk) for chunk in range(len(self.cohort.shares))
    ]
    compiled.prepare(chunks_inputs)
    if len(chunks_inputs) > 1:
      results = list(self._pool.map(lambda inputs: _run_chunk(compiled, inputs), chunks_inputs))
    else:
      results = [_run_chunk(compiled, inputs) for inputs in chunks_inputs]
    self._keep(compiled, [compiled.loop.split_results(result) for result in results])

  def _keep(self, compiled: ClientWork, results) -> None:
    loop, totals = compiled.loop, compiled.totals
    folded = totals.merge([folded for folded, _, _ in results])
    if folded is None:
      folded = [leaf for a in loop.folded for leaf in self.tensors[a.zero_key]]
    zeros = [leaf for a in loop.joined for leaf in self.tensors[a.zero_key]]
    joined = totals.join(zeros, [[own[0] for own in joined] for _, joined, _ in results])
    for aggregations, leaves in ((loop.folded, folded), (loop.joined, joined)):
      shapes = [server_steps.ServerShape(a.accumulator_type) for a in aggregations]
      keys = [a.accumulator_key for a in aggregations]
      self.tensors.update(zip(keys, server_steps.split(shapes, leaves)))
    for index, key in enumerate(compiled.step.outputs):
      self.by_chunk[key] = [outputs[index] for _, _, outputs in results]

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
    clients_values = [None] * self.cohort.size
    for chunk, share in enumerate(self.cohort.shares):
      if key in self.by_chunk:
        tensors = self.by_chunk[key][chunk]
      else:
        tensors = shape.arrange(self.leaves(key, chunk))
      parts = zip(shape.layouts, server_steps.split(shape.layouts, tensors))
      columns = [layout.split(own) for layout, own in parts]
      rows = zip(*columns) if columns else [()] * len(share)
      for position, row in zip(share, rows):
        clients_values[position] = expressions.pack(shape.type, iter(row))
    return clients_values


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


def _run_chunk(compiled: ClientWork, inputs: ChunkInputs) -> list[tf.Tensor]:
  devices = tf.config.list_logical_devices('GPU') or tf.config.list_logical_devices('CPU')
  try:
    with tf.device(devices[inputs.chunk % len(devices)].name):
      return compiled.run(inputs)
  except tf.errors.OpError as error:
    raise _client_error(compiled, inputs, error) from error


def _client_error(compiled: ClientWork, inputs: ChunkInputs, error) -> errors.ComputationError:
  """The error of a chunk, with the first client at which it arises.

  The loop over the clients stops at the first failure, so the chunk's first `count` clients fail
  exactly if that client is among them: a search by halves finds it. A failure that does not repeat
  could be any client's.
  """
  fine, failing = 0, inputs.count
  if failing > 1 and _error_of(compiled, inputs, failing) is None:
    return errors.ComputationError(errors.message_of(error))
  while failing - fine > 1:
    count = (fine + failing) // 2
    earlier = _error_of(compiled, inputs, count)
    if earlier is None:
      fine = count
    else:
      failing, error = count, earlier
  return errors.ComputationError(errors.message_of(error), inputs.share[failing - 1])


def _error_of(compiled: ClientWork, inputs: ChunkInputs, count: int) -> Optional[tf.errors.OpError]:
  """The error of the work of a chunk's first clients; None if there is none."""
  try:
    compiled.run(inputs, count)
  except tf.errors.OpError as error:
    return error
  return None

"""The fused runtime: a TFF execution context that runs any TFF computation in this process.

A computation is compiled once to a `program.Program`, whose steps become TensorFlow functions. The
clients' step loops over the clients of a chunk with the aggregation folded in; one chunk runs per
core, and the chunks' accumulators are merged in a fixed order, so that the same inputs give the
same bits on every run of one machine. With a single chunk they are the bits of TFF's own runtime.

What runs here: local TensorFlow computations, computations at the server, and federated ones of
any number of parameters, aggregations (secure ones as their plain sums), broadcasts that depend on
aggregates, `federated_select`, sequences, and values left at the clients. What does not:
computations written in JAX, `sequence_map` and its kin outside TensorFlow, external data. Those run
on TFF's own runtime, and the log says so once with the reason.
"""

import collections
from collections.abc import Sequence
import concurrent.futures
import hashlib

from absl import logging
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.runtime import chunks
from fl_research.runtime import errors
from fl_research.runtime import expressions
from fl_research.runtime import native
from fl_research.runtime import pieces
from fl_research.runtime import program as programs
from fl_research.runtime import steps
from fl_research.runtime import values

_CACHE_SIZE = 512


class _Local:
  """A TensorFlow computation without placements, compiled."""

  def __init__(self, proto, parameter_type):
    self._leaf_types = pieces.leaf_types(parameter_type)
    piece = pieces.piece_of(proto)
    signature = [pieces.leaf_spec(leaf) for leaf in self._leaf_types]
    self._function = tf.function(
        lambda *tensors: piece(tensors), autograph=False, input_signature=signature
    )
    self._parameter_type = parameter_type
    self._concrete = self._function.get_concrete_function()

  def run(self, argument, result_type, pool):
    del pool
    leaves = [] if self._parameter_type is None else values.flatten(argument, self._parameter_type)
    tensors = [values.as_tensor(*both) for both in zip(leaves, self._leaf_types)]
    return _to_python(iter(_run(self._concrete, tensors)), result_type)


def _to_python(tensors, type_signature):
  """The Struct of NumPy values for the next tensors of an iterator."""
  if isinstance(type_signature, tff.FederatedType):
    return _to_python(tensors, type_signature.member)
  if isinstance(type_signature, tff.StructType):
    elements = tff.structure.iter_elements(type_signature)
    return expressions.Struct([(name, _to_python(tensors, part)) for name, part in elements])
  return values.from_tensor(next(tensors), type_signature)


class _Federated:
  """A federated computation, compiled: its steps as TensorFlow functions, run by chunks."""

  def __init__(self, computation, parallelism: int):
    self._parallelism = parallelism
    self._program = programs.program_of(computation)
    self._steps = []
    for index, step in enumerate(self._program.steps):
      if step.at_clients:
        client_step = steps.ClientStep(self._program, step)
        concrete = client_step.function.get_concrete_function()
        merge = steps.merge_function(self._program, step).get_concrete_function()
        self._steps.append((step, client_step, concrete, merge))
      elif step.outputs:
        concrete = steps.server_function(self._program, step).get_concrete_function()
        self._steps.append((step, None, concrete, None))

  def run(self, argument, result_type, pool):
    """Runs the computation on a Python argument; returns Structs of NumPy values."""
    return _Call(self._program, self._steps, argument, self._parallelism, pool).result()


class _Call:
  """One call of a federated computation: the values of its keys so far."""

  def __init__(self, program, compiled, argument, parallelism: int, pool):
    self._program = program
    self._pool = pool
    self._tensors: dict[programs.Key, list[tf.Tensor]] = {}  # at the server
    self._by_chunk: dict[programs.Key, list[list[tf.Tensor]]] = {}  # at the clients
    self._take_parameters(argument, parallelism)
    for step, client_step, concrete, merge in compiled:
      if client_step is None:
        inputs = [tensor for key in step.inputs for tensor in self._tensors[key]]
        self._keep(self._tensors, step.outputs, _run(concrete, inputs))
      else:
        self._run_clients(step, client_step, concrete, merge)

  def _take_parameters(self, argument, parallelism: int) -> None:
    keys, arguments, types = [], [], []
    for key, type_signature in self._program.parameters:
      part = _part(argument, key, self._program)
      if key in self._program.at_clients:
        keys.append(key)
        arguments.append(part)
        types.append(type_signature.member)
      else:
        member = getattr(type_signature, 'member', type_signature)
        leaves = zip(values.flatten(part, member), pieces.leaf_types(member))
        self._tensors[key] = [values.as_tensor(leaf, leaf_type) for leaf, leaf_type in leaves]
    self._cohort = chunks.Cohort(arguments, types, parallelism)
    for index, key in enumerate(keys):
      self._by_chunk[key] = [
          [tensor for leaf in self._cohort.tensors(index, chunk) for tensor in leaf]
          for chunk in range(len(self._cohort.shares))
      ]

  def _keep(self, store, keys, tensors) -> None:
    shapes = [steps.shape_of(self._program, key) for key in keys]
    store.update(zip(keys, steps.split(shapes, tensors)))

  def _run_clients(self, step, client_step, concrete, merge) -> None:
    shares = self._cohort.shares

    def run_chunk(chunk: int):
      return self._run_chunk(client_step, concrete, chunk)

    if len(shares) > 1:
      results = list(self._pool.map(run_chunk, range(len(shares))))
    else:
      results = [run_chunk(chunk) for chunk in range(len(shares))]
    size = sum(len(shape.specs()) for shape in client_step.accumulators)
    if results:
      total = results[0][:size]
      for other in results[1:]:
        total = _run(merge, [*total, *other[:size]])
    else:
      total = [leaf for a in step.aggregations for leaf in self._tensors[a.zero_key]]
    self._keep(self._tensors, [a.accumulator_key for a in step.aggregations], total)
    for key in step.outputs:
      self._by_chunk[key] = []
    for result in results:
      parts = steps.split(client_step.outputs, result[size:])
      for key, part in zip(step.outputs, parts):
        self._by_chunk[key].append(part)

  def _run_chunk(self, client_step, concrete, chunk: int) -> list[tf.Tensor]:
    share = self._cohort.shares[chunk]
    inputs = []
    for key in client_step.inputs:
      inputs += self._by_chunk[key][chunk] if key in self._by_chunk else self._tensors[key]
    try:
      return concrete(tf.constant(len(share)), *inputs)
    except tf.errors.OpError as error:
      raise _client_error(concrete, share, inputs, error) from error

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
    shape = steps.shape_of(self._program, key)
    if key not in self._by_chunk:
      return _to_python(iter(self._tensors[key]), shape.type)
    clients = [None] * self._cohort.size
    for share, tensors in zip(self._cohort.shares, self._by_chunk[key]):
      columns = []
      for layout in shape.layouts:
        columns.append(layout.split(tensors[: len(layout.specs)]))
        tensors = tensors[len(layout.specs) :]
      rows = zip(*columns) if columns else [()] * len(share)
      for position, row in zip(share, rows):
        clients[position] = expressions.pack(shape.type, iter(row))
    return clients


def _part(argument, key: programs.Key, program: programs.Program):
  """The part of a Python argument that a parameter's key names."""
  type_signature = program.parameter_type
  for index in key.split('/')[1:]:
    argument = values.members(argument, type_signature)[int(index)]
    type_signature = type_signature[int(index)]
  return argument


def _run(concrete, inputs) -> list[tf.Tensor]:
  try:
    return concrete(*inputs)
  except tf.errors.OpError as error:
    raise errors.ComputationError(errors.message_of(error)) from error


def _client_error(concrete, share: Sequence[int], inputs, error) -> errors.ComputationError:
  """The error of a chunk, with the first client at which it arises.

  The loop over the clients stops at the first failure, so the chunk's first `count` clients fail
  exactly if that client is among them: a search by halves finds it.
  """
  fine, failing = 0, len(share)
  while failing - fine > 1:
    count = (fine + failing) // 2
    try:
      concrete(tf.constant(count), *inputs)
      fine = count
    except tf.errors.OpError as earlier:
      failing, error = count, earlier
  return errors.ComputationError(errors.message_of(error), share[failing - 1])


class FusedContext(tff.framework.SyncContext):
  """Runs TFF computations in this process; see the module's docstring."""

  def __init__(self, name: str, client_parallelism: int, jit: str = 'off'):
    """Prepares the runtime; nothing is compiled before the first call.

    Args:
      name: what `report` calls it.
      client_parallelism: chunks of clients that run at the same time.
      jit: 'off', 'on' or 'auto'.
    """
    self.name = name
    self.client_parallelism = client_parallelism
    self.jit = jit
    self._native = native.NativeContext()
    self._pool = concurrent.futures.ThreadPoolExecutor(self.client_parallelism)
    self._by_identity = collections.OrderedDict()
    self._by_content = {}
    self._fallbacks: list[str] = []

  def invoke(self, comp, arg):
    """Runs `comp` on `arg` and returns what TFF's own runtime would.

    Raises:
      ComputationError: the computation itself failed.
      TypeError, ValueError: the arguments do not fit the computation's type.
    """
    compiled = self._compiled(comp)
    if compiled is None:
      return self._native.invoke(comp, arg)
    result_type = comp.type_signature.result
    result = compiled.run(arg, result_type, self._pool)
    return tff.types.type_to_py_container(result, result_type)

  def _compiled(self, comp):
    known = self._by_identity.get(id(comp))
    if known is not None:
      return known[1]
    proto = tff.framework.ConcreteComputation.get_proto(comp)
    content = hashlib.sha256(proto.SerializeToString(deterministic=True)).digest()
    if content not in self._by_content:
      self._by_content[content] = self._compile(comp, proto)
    self._by_identity[id(comp)] = comp, self._by_content[content]
    if len(self._by_identity) > _CACHE_SIZE:
      self._by_identity.popitem(last=False)
    return self._by_content[content]

  def _compile(self, comp, proto):
    try:
      if proto.WhichOneof('computation') == 'tensorflow':
        return _Local(proto, comp.type_signature.parameter)
      return _Federated(comp, self.client_parallelism)
    except (expressions.NotReducible, NotImplementedError) as reason:
      message = f'{comp.type_signature.compact_representation()}: {reason}'
      self._fallbacks.append(message)
      logging.warning("Runs on TFF's own runtime, not the fused one: %s.", message)
      return None

  def report(self) -> dict:
    """What to write into a run's manifest."""
    return {
        'runtime': self.name,
        'fallbacks': list(self._fallbacks),
        'chunks': self.client_parallelism,
        'jit': self.jit,
    }

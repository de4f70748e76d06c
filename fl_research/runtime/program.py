"""Splits a TFF computation into steps: what the server computes, what every client computes.

A computation in call-dominant form is a list of calls, each to one intrinsic or local function.
Aggregations divide it: step 0 at the server, step 0 at the clients, step 1 at the server (with the
aggregates of step 0), and so on. One round of federated averaging has two server steps around one
step at the clients; there may be any number of each, of parameters and of aggregations, and values
may be left at the clients. That is more than TFF's MapReduceForm takes, which refuses the last.

    step 0, server   zeros of the aggregations, what is broadcast
    step 0, clients  fold each client's value into the accumulators; keep what is needed later
    step 1, server   report of the aggregations, the server's own computations
    ...

A value at CLIENTS that is the same for all (`all_equal`) is computed once, at the server.
"""

from collections.abc import Iterator
import dataclasses
from typing import Any, Optional

import tensorflow_federated as tff

from fl_research.runtime import clear_sums, expressions, secure_sums

AGGREGATE = 'federated_aggregate'

Key = str
"""Names a value of the computation: a parameter's path or a local."""


@dataclasses.dataclass(frozen=True)
class Aggregation:
  """One `federated_aggregate` of a step at the clients."""

  key: Key
  value: tff.framework.ComputationBuildingBlock
  zero: tff.framework.ComputationBuildingBlock
  accumulate: tff.framework.ComputationBuildingBlock
  merge: tff.framework.ComputationBuildingBlock
  report: tff.framework.ComputationBuildingBlock

  @property
  def zero_key(self) -> Key:
    return f'{self.key}#zero'

  @property
  def accumulator_key(self) -> Key:
    return f'{self.key}#accumulator'

  @property
  def accumulator_type(self) -> tff.Type:
    """The type that every accumulator can be assigned to; its shapes may be unknown ones."""
    return self.accumulate.type_signature.parameter[0]


@dataclasses.dataclass(frozen=True)
class SecureSum:
  """One secure sum that is kept as such.

  Attributes:
    key: of the sum, at the server.
    bounds: of its terms.
  """

  key: Key
  bounds: secure_sums.Bounds

  @property
  def terms_key(self) -> Key:
    """Of what each client adds to it."""
    return f'{self.key}#terms'


@dataclasses.dataclass
class Step:
  """What is computed between two crossings, at the server or at each client.

  Attributes:
    calls: name and block of each call, in order.
    aggregations: at the clients, the aggregations of this step; at the server, those to report.
    zeros: at the server, the aggregations whose zeros this step computes.
    secure_sums: at the clients, the secure sums whose terms this step computes.
    inputs: keys of the values that come from elsewhere.
    outputs: keys of the values that later steps or the result need.
  """

  at_clients: bool
  calls: list = dataclasses.field(default_factory=list)
  aggregations: list[Aggregation] = dataclasses.field(default_factory=list)
  zeros: list[Aggregation] = dataclasses.field(default_factory=list)
  secure_sums: list[SecureSum] = dataclasses.field(default_factory=list)
  inputs: list[Key] = dataclasses.field(default_factory=list)
  outputs: list[Key] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Program:
  """A whole computation.

  Attributes:
    parameter_name: what the blocks call the parameter, or None.
    parameter_type: its type, or None.
    parameters: the key and type of each part of the parameter that is placed, or is a leaf.
    steps: server and clients in turn, beginning and ending at the server.
    result: the block that assembles the result out of the keys' values.
    types: the type of the value of each key.
    at_clients: the keys of the values that differ by client.
    shapes: what `steps.shape_of` has found.
  """

  parameter_name: Optional[str]
  parameter_type: Optional[tff.Type]
  parameters: list[tuple[Key, tff.Type]]
  steps: list[Step]
  result: tff.framework.ComputationBuildingBlock
  types: dict[Key, tff.Type]
  at_clients: set[Key]
  shapes: dict[Key, Any] = dataclasses.field(default_factory=dict)


def _differs_by_client(type_signature) -> bool:
  return (
    isinstance(type_signature, tff.FederatedType)
    and type_signature.placement is tff.CLIENTS
    and not type_signature.all_equal
  )


def parameter_leaves(name: str, type_signature) -> Iterator[tuple[Key, tff.Type]]:
  """Key and type of every part of a parameter that is placed or has no parts."""
  if isinstance(type_signature, tff.StructType):
    for index, member in enumerate(type_signature):
      yield from parameter_leaves(f'{name}/{index}', member)
  elif type_signature is not None:
    yield name, type_signature


def _is_function(type_signature) -> bool:
  return isinstance(type_signature, tff.FunctionType)


def _call_dominant(computation, keeps_secure_sums: bool):
  """(parameter name, parameter type, locals, result) of a computation."""
  parameter_type = computation.type_signature.parameter
  if parameter_type is not None and tff.types.contains(parameter_type, _is_function):
    raise expressions.NotReducible('a function is among its parameters')
  if not keeps_secure_sums:
    computation = clear_sums.in_the_clear(computation)
  block = computation.to_building_block()
  block, _ = tff.tensorflow.replace_intrinsics_with_bodies(block)
  block = tff.framework.to_call_dominant(block)
  bindings = []
  if isinstance(block, tff.framework.Block):  # what does not depend on the parameter
    bindings, block = list(block.locals), block.result
  if not isinstance(block, tff.framework.Lambda):
    raise expressions.NotReducible(f'it is a {type(block).__name__.lower()}, not a function')
  name, parameter_type, result = block.parameter_name, block.parameter_type, block.result
  if isinstance(result, tff.framework.Block):
    bindings, result = bindings + result.locals, result.result
  return name, parameter_type, bindings, result


class _Planner:
  """Finds the step of each call."""

  def __init__(self, computation, keeps_secure_sums: bool):
    self._name, self._type, bindings, self._result = _call_dominant(computation, keeps_secure_sums)
    self._types: dict[Key, tff.Type] = {}
    self._step_of: dict[Key, int] = {}
    self._at_clients: set[Key] = set()
    self._steps = [Step(at_clients=False)]
    self._parameters = list(parameter_leaves(self._name, self._type)) if self._name else []
    for key, type_signature in self._parameters:
      self._define(key, type_signature, 0)
    for name, block in bindings:
      self._add(name, block)

  def _define(self, key: Key, type_signature, step: int) -> None:
    self._types[key] = type_signature
    self._step_of[key] = step
    if _differs_by_client(type_signature):
      self._at_clients.add(key)

  def _keys(self, block, bound=frozenset()) -> Iterator[Key]:
    """The keys that a block refers to."""
    framework = tff.framework
    path, source = [], block
    while isinstance(source, framework.Selection):
      path.append(source.as_index())
      source = source.source
    if isinstance(source, framework.Reference):
      if source.name not in bound:
        yield from self._keys_below(source.name, path[::-1])
      return
    if isinstance(source, framework.Lambda) and source.parameter_name:
      bound = bound | {source.parameter_name}
    if isinstance(source, framework.Block):
      for name, value in source.locals:
        yield from self._keys(value, bound)
        bound = bound | {name}
      yield from self._keys(source.result, bound)
      return
    for child in source.children():
      yield from self._keys(child, bound)

  def _keys_below(self, name: str, path: list[int]) -> Iterator[Key]:
    """The keys that `name[path[0]][path[1]]...` stands for: itself, a part of it or the whole."""
    if name in self._types:
      yield name
      return
    key = name
    for index in path:
      key = f'{key}/{index}'
      if key in self._types:
        yield key
        return
    yield from (k for k, _ in self._parameters if k == key or k.startswith(f'{key}/'))

  def _step(self, index: int, at_clients: bool) -> Step:
    position = 2 * index + at_clients
    while len(self._steps) <= position:
      self._steps.append(Step(at_clients=len(self._steps) % 2 == 1))
    return self._steps[position]

  def _add(self, name: str, block) -> None:
    uri = getattr(getattr(block, 'function', None), 'uri', None)
    keys = list(self._keys(block))
    index = max((self._step_of[key] for key in keys), default=0)
    if uri == AGGREGATE:
      aggregation = Aggregation(name, *block.argument)
      self._step(index, True).aggregations.append(aggregation)
      self._step(index, False).zeros.append(aggregation)
      self._step(index + 1, False).aggregations.append(aggregation)
      self._types[aggregation.zero_key] = aggregation.accumulator_type
      self._types[aggregation.accumulator_key] = aggregation.accumulator_type
      self._define(name, block.type_signature, index + 1)
      return
    if uri in secure_sums.BOUNDS:
      self._add_secure_sum(name, block, index)
      return
    at_clients = _differs_by_client(block.type_signature)
    if not at_clients and any(key in self._at_clients for key in keys):
      raise expressions.NotReducible(f'it uses {uri} on values at the clients')
    self._step(index, at_clients).calls.append((name, block))
    self._define(name, block.type_signature, index)

  def _add_secure_sum(self, name: str, block, index: int) -> None:
    value, bound = block.argument
    member = value.type_signature.member
    secure = SecureSum(name, secure_sums.bounds_of(block.function.uri, bound, member))
    self._step(index, True).secure_sums.append(secure)
    self._step(index, True).calls.append((secure.terms_key, value))
    self._define(secure.terms_key, tff.FederatedType(member, tff.CLIENTS), index)
    self._step(index + 1, False)
    self._define(name, block.type_signature, index + 1)

  def _blocks(self, step: Step) -> Iterator:
    yield from (block for _, block in step.calls)
    for aggregation in step.aggregations:
      if step.at_clients:
        yield aggregation.value
        yield aggregation.accumulate
      else:
        yield aggregation.report
    yield from (aggregation.zero for aggregation in step.zeros)

  def _link(self) -> None:
    """Fills in what each step takes from elsewhere and what it must hand on."""
    wanted = set(self._keys(self._result))
    wanted.update(secure.terms_key for step in self._steps for secure in step.secure_sums)
    for step in reversed(self._steps):
      own = [name for name, _ in step.calls]
      used = dict.fromkeys(key for block in self._blocks(step) for key in self._keys(block))
      if step.at_clients:
        used.update(dict.fromkeys(a.zero_key for a in step.aggregations))
      else:
        own += [a.key for a in step.aggregations] + [a.zero_key for a in step.zeros]
        used.update(dict.fromkeys(a.accumulator_key for a in step.aggregations))
      step.outputs = [key for key in own if key in wanted]
      step.inputs = [key for key in used if key not in own]
      wanted.update(step.inputs)

  def program(self) -> Program:
    if len(self._steps) % 2 == 0:
      self._steps.append(Step(at_clients=False))
    self._link()
    return Program(
      parameter_name=self._name,
      parameter_type=self._type,
      parameters=self._parameters,
      steps=self._steps,
      result=self._result,
      types=self._types,
      at_clients=self._at_clients,
    )


def program_of(computation, keeps_secure_sums: bool = False) -> Program:
  """The steps of a `tff.Computation`.

  Args:
    computation: what to split.
    keeps_secure_sums: whether secure sums stay what they are; else they are sums in the clear.

  Raises:
    NotReducible: it is not made of server steps, client steps and aggregations.
  """
  return _Planner(computation, keeps_secure_sums).program()

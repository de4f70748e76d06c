"""Which client runs in which chunk, and the clients' arrays."""

from collections.abc import Iterable, Sequence
import heapq
from typing import Optional

import attrs
import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.runtime import chunk_runs, described, graph_functions, layouts, python_values

WHOLE_BYTES = 256 << 20
"""A described cohort of at most so many bytes is made at once, ahead of its round."""

SLICE_BYTES = 32 << 20
"""What the clients of a slice take together, where a cohort is made slice by slice."""


def assign(weights: Sequence[float], chunks: int) -> list[list[int]]:
  """Shares clients among chunks so that the chunks weigh about the same.

  The heaviest client first, each to the chunk that is lightest so far (the first of several). The
  result depends on nothing but the arguments.

  Returns:
    For each chunk that gets any client, their positions, ascending.
  """
  shares: list[list[int]] = [[] for _ in range(chunks)]
  loads = [(0.0, chunk) for chunk in range(chunks)]
  for position in sorted(range(len(weights)), key=lambda i: -weights[i]):
    load, lightest = loads[0]
    shares[lightest].append(position)
    heapq.heapreplace(loads, (load + weights[position], lightest))
  return [sorted(share) for share in shares if share]


def in_chunks(values: Sequence, shares: Iterable[Sequence[int]]) -> list:
  """The clients' values, chunk after chunk."""
  return [values[position] for share in shares for position in share]


class ClientStack(list):
  """A list of clients' values that also holds their arrays side by side, made ahead of their round.

  To TFF's own runtime it is the plain list.

  Attributes:
    names: the leaves of each client's value by name, or None if the values could not be stacked.
    shares: for each chunk the positions of its clients.
    leaves: for each leaf, the clients' arrays side by side, chunk after chunk.
  """

  def __init__(self, clients: Iterable = ()):
    super().__init__(clients)
    self.names: Optional[list[str]] = None
    self.shares: list[list[int]] = []
    self.leaves: list[layouts.RawLeaf] = []


def _named_leaves(value, path: str = '') -> list[tuple[str, object]]:
  """The leaves of a Python value with the paths to them, in the containers' order."""
  if isinstance(value, (np.ndarray, np.generic)):
    return [(path, value)]
  if isinstance(value, dict):
    return [x for key, part in value.items() for x in _named_leaves(part, f'{path}/{key}')]
  if type(value) in (tuple, list):
    return [x for i, part in enumerate(value) for x in _named_leaves(part, f'{path}/{i}')]
  if attrs.has(type(value)) or isinstance(value, (tuple, list)):
    elements = tff.structure.iter_elements(tff.structure.from_container(value))
    members = enumerate(elements)
    return [x for i, (key, part) in members for x in _named_leaves(part, f'{path}/{key or i}')]
  return [(path, value)]


def type_names(type_signature, path: str = '') -> list[str]:
  """The paths to the leaves of a type, as `_named_leaves` gives them for its values."""
  if isinstance(type_signature, tff.StructType):
    members = enumerate(tff.structure.iter_elements(type_signature))
    return [x for i, (key, part) in members for x in type_names(part, f'{path}/{key or i}')]
  return [path]


def _weight(names: Sequence[str], leaves: Sequence) -> float:
  """How long a client's work may take: its number of batches, or its size in memory."""
  if '/batches' in names:
    return 1.0 + leaves[names.index('/batches')].shape[0]
  return 1.0 + sum(1 if isinstance(leaf, tf.Tensor) else leaf.nbytes for leaf in leaves)


def stack_clients(clients: Iterable, chunks: int) -> ClientStack:
  """Prepares a cohort's values for the fused runtime; may run in any thread.

  Args:
    clients: one structure of arrays per client, all alike.
    chunks: how many chunks there are, for as many clients.

  Returns:
    The list of clients with their arrays beside it.
  """
  stack = ClientStack(clients)
  named = [_named_leaves(client) for client in stack]
  all_names = {tuple(name for name, _ in client) for client in named}
  arrays = all(isinstance(x, (np.ndarray, np.generic)) for client in named for _, x in client)
  if len(all_names) != 1 or not arrays:
    return stack
  stack.names = list(all_names.pop())
  leaves = [[np.asarray(leaf) for _, leaf in client] for client in named]
  stack.shares = assign([_weight(stack.names, client) for client in leaves], chunks)
  stack.leaves = [layouts.raw_leaf(column) for column in zip(*in_chunks(leaves, stack.shares))]
  return stack


class _Stacked:
  """A client-placed argument whose arrays were made ahead."""

  def __init__(self, stack: ClientStack, member_type: tff.Type):
    self.shares = stack.shares
    self._leaves = stack.leaves
    positions = in_chunks(range(len(stack)), stack.shares)
    for leaf, leaf_type in zip(stack.leaves, graph_functions.leaf_types(member_type)):
      _check_stacked(leaf, leaf_type, positions)

  def leaves(self) -> list[layouts.RawLeaf]:
    return self._leaves

  def leaves_of(self, piece: chunk_runs.Slice) -> list[layouts.RawLeaf]:
    return [leaf.part(piece.first, piece.first + len(piece.share)) for leaf in self._leaves]


def _check_stacked(leaf: layouts.RawLeaf, leaf_type, positions: Sequence[int]) -> None:
  for position, shape in zip(positions, leaf.shapes):
    if not python_values.fits(shape, leaf_type):
      raise TypeError(
        f'client {position} of the cohort: Expected a value of type {leaf_type}, found shape'
        f' {shape}.'
      )


def _usable(argument, member_type: tff.Type, chunks: int) -> bool:
  """Whether an argument's arrays, made ahead, are those that this call needs."""
  if not isinstance(argument, ClientStack) or argument.names is None:
    return False
  if len(argument.shares) != min(chunks, len(argument)):
    return False
  if argument.names != type_names(member_type):
    return False
  types = graph_functions.leaf_types(member_type)
  if any(isinstance(leaf_type, tff.SequenceType) for leaf_type in types):
    return False
  wanted = [leaf_type.dtype.type for leaf_type in types]
  return [leaf.buffer.dtype.type for leaf in argument.leaves] == wanted


class _Listed:
  """A client-placed argument as a list of the clients' values."""

  def __init__(self, clients: Sequence, member_type: tff.Type):
    self._types = graph_functions.leaf_types(member_type)
    self._names = type_names(member_type)
    self._clients = [
      self._checked(position, client, member_type) for position, client in enumerate(clients)
    ]
    self.shares: list[list[int]] = []

  def _checked(self, position: int, client, member_type: tff.Type) -> list:
    try:
      leaves = python_values.flatten(client, member_type)
      return [_checked_leaf(leaf, leaf_type) for leaf, leaf_type in zip(leaves, self._types)]
    except TypeError as error:
      raise TypeError(f'client {position} of the cohort: {error}') from error

  def weights(self) -> list[float]:
    return [_weight(self._names, leaves) for leaves in self._clients]

  def leaves(self) -> list[layouts.RawLeaf]:
    return _side_by_side(in_chunks(self._clients, self.shares))

  def leaves_of(self, piece: chunk_runs.Slice) -> list[layouts.RawLeaf]:
    return _side_by_side([self._clients[position] for position in piece.share])


def _side_by_side(clients: Sequence[list]) -> list[layouts.RawLeaf]:
  return [layouts.raw_leaf(column) for column in zip(*clients)]


def _checked_leaf(leaf, leaf_type):
  if isinstance(leaf_type, tff.SequenceType):
    return python_values.as_variant(leaf, leaf_type)
  return python_values.as_array(leaf, leaf_type)


class Described:
  """A client-placed argument whose values are made when they are due.

  Attributes:
    clients: their description.
    names, specs: of the leaves.
    shares: as of `Cohort`.
  """

  def __init__(self, clients: described.DescribedClients, member_type: tff.Type):
    self.clients = clients
    self.names = type_names(member_type)
    self.specs = [
      graph_functions.leaf_spec(leaf) for leaf in graph_functions.leaf_types(member_type)
    ]
    self.shares: list[list[int]] = []

  @property
  def usable(self) -> bool:
    """Whether the values are arrays of the type's dtypes, by its names."""
    found = {name: leaf.dtype for name, leaf in described.named_leaves(self.clients[0])}
    return found == {n: spec.dtype.as_numpy_dtype for n, spec in zip(self.names, self.specs)}

  def leaves(self) -> list[layouts.RawLeaf]:
    return self._made(in_chunks(range(len(self.clients)), self.shares))

  def leaves_of(self, piece: chunk_runs.Slice) -> list[layouts.RawLeaf]:
    return self._made(piece.share)

  def _made(self, positions: Sequence[int]) -> list[layouts.RawLeaf]:
    clients = self.clients.part(positions, self.clients.source)
    return chunk_runs.described_leaves(clients, self.names, self.specs, positions)


class Cohort:
  """The client-placed arguments of one call, checked and shared among chunks.

  Attributes:
    size: number of clients.
    shares: for each chunk the positions of its clients.
    arguments: the arguments, which give the raw leaves of all clients or of a slice.
  """

  def __init__(self, arguments: Sequence[Sequence], types: Sequence[tff.Type], chunks: int):
    """Checks the clients' values and assigns them to chunks.

    Args:
      arguments: for each client-placed part of the parameter, the list of the clients' values.
      types: the member type of each.
      chunks: how many chunks there are, for as many clients.

    Raises:
      TypeError, ValueError: the values are not of their types, or not as many in each argument.
    """
    for argument in arguments:
      if not isinstance(argument, (list, described.DescribedClients)):
        raise TypeError(f'Expected a list of clients, found {type(argument).__name__}.')
    counts = sorted({len(argument) for argument in arguments})
    if len(counts) > 1:
      raise ValueError(f'The client-placed arguments are of different lengths: {counts}.')
    self.size = counts[0] if counts else 0
    self.shares: list[list[int]] = []
    self.arguments: list[_Stacked | _Listed | Described] = []
    for argument, member_type in zip(arguments, types):
      self.arguments.append(self._prepared(argument, member_type, chunks))
    listed = [argument for argument in self.arguments if isinstance(argument, _Listed)]
    if not self.shares:
      totals = [sum(each) for each in zip(*(plain.weights() for plain in listed))]
      self.shares = assign(totals, chunks)
    for prepared in self.arguments:
      prepared.shares = self.shares

  def _prepared(self, argument, member_type: tff.Type, chunks: int):
    if isinstance(argument, described.DescribedClients) and len(argument):
      made_when_due = Described(argument, member_type)
      if made_when_due.usable:
        self.shares = self.shares or assign(argument.weights().tolist(), chunks)
        return made_when_due
    if _usable(argument, member_type, chunks) and self.shares in ([], argument.shares):
      stacked = _Stacked(argument, member_type)
      self.shares = stacked.shares
      return stacked
    return _Listed(list(argument), member_type)

  def chunks(self, sliced: bool) -> list[chunk_runs.Chunk]:
    """The chunks, each one slice; or several, where `sliced` and values are made when due."""
    firsts = layouts.offsets_of([len(share) for share in self.shares]).tolist()
    made_when_due = [own for own in self.arguments if isinstance(own, Described)] if sliced else []
    sizes = sum((own.clients.bytes_of_clients() for own in made_when_due), np.zeros(self.size, int))
    return [
      chunk_runs.Chunk(index, _slices(first, share, sizes))
      for index, (first, share) in enumerate(zip(firsts, self.shares))
    ]


def _slices(first: int, share: Sequence[int], sizes: np.ndarray) -> tuple[chunk_runs.Slice, ...]:
  runs = described.slices(sizes[share], SLICE_BYTES)
  return tuple(chunk_runs.Slice(first + run.start, share[run.start : run.stop]) for run in runs)

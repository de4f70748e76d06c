"""Which client runs in which chunk, and the chunks' arrays."""

from collections.abc import Iterable, Sequence
from typing import Optional

import attrs
import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.runtime import layouts, pieces, values


def assign(weights: Sequence[float], chunks: int) -> list[list[int]]:
  """Shares clients among chunks so that the chunks weigh about the same.

  The heaviest client first, each to the chunk that is lightest so far (the first of several). The
  result depends on nothing but the arguments.

  Returns:
    For each chunk that gets any client, their positions, ascending.
  """
  shares: list[list[int]] = [[] for _ in range(chunks)]
  loads = [0.0] * chunks
  for position in sorted(range(len(weights)), key=lambda i: -weights[i]):
    lightest = loads.index(min(loads))
    shares[lightest].append(position)
    loads[lightest] += weights[position]
  return [sorted(share) for share in shares if share]


class ClientStack(list):
  """A list of clients' values that also holds their chunks' arrays, made ahead of their round.

  To TFF's own runtime it is the plain list. `shares` has the positions of each chunk's clients,
  `leaves` for each chunk one `RawLeaf` per leaf; both None if the values could not be stacked.
  """

  def __init__(self, clients: Iterable = ()):
    super().__init__(clients)
    self.shares: Optional[list[list[int]]] = None
    self.leaves: Optional[list[list[layouts.RawLeaf]]] = None


def _named_leaves(value, name: str = '') -> list[tuple[str, object]]:
  """The leaves of a Python value with their own names, in the containers' order."""
  if isinstance(value, dict) or attrs.has(type(value)) or isinstance(value, (tuple, list)):
    elements = tff.structure.iter_elements(tff.structure.from_container(value))
    return [leaf for key, part in elements for leaf in _named_leaves(part, key or '')]
  return [(name, value)]


def _weight(names: Sequence[str], leaves: Sequence) -> float:
  """How long a client's work may take: its number of batches, or its size in memory."""
  if 'batches' in names:
    return 1.0 + leaves[names.index('batches')].shape[0]
  return 1.0 + sum(1 if isinstance(leaf, tf.Tensor) else leaf.nbytes for leaf in leaves)


def stack_clients(clients: Iterable, chunks: int) -> ClientStack:
  """Prepares a cohort's values for the fused runtime; may run in any thread.

  Args:
    clients: one structure of arrays per client, all alike.
    chunks: how many chunks run at the same time.

  Returns:
    The list of clients with their arrays beside it.
  """
  stack = ClientStack(clients)
  named = [_named_leaves(client) for client in stack]
  if not named or any(not isinstance(x, (np.ndarray, np.generic)) for c in named for _, x in c):
    return stack
  names = [name for name, _ in named[0]]
  leaves = [[np.asarray(leaf) for _, leaf in client] for client in named]
  stack.shares = assign([_weight(names, client) for client in leaves], chunks)
  stack.leaves = [_stack_share(leaves, share) for share in stack.shares]
  return stack


def _stack_share(
  leaves: Sequence[Sequence[np.ndarray]], share: Sequence[int]
) -> list[layouts.RawLeaf]:
  return [layouts.raw_leaf(column) for column in zip(*(leaves[position] for position in share))]


class Cohort:
  """The client-placed arguments of one call, checked and shared among chunks."""

  def __init__(self, arguments: Sequence[Sequence], types: Sequence[tff.Type], chunks: int):
    """Checks the clients' values and assigns them to chunks.

    Args:
      arguments: for each client-placed part of the parameter, the list of the clients' values.
      types: the member type of each.
      chunks: how many chunks run at the same time.

    Raises:
      TypeError, ValueError: the values are not of their types, or not as many in each argument.
    """
    self._types = [pieces.leaf_types(member) for member in types]
    self._leaves = [_checked(*both) for both in zip(arguments, types)]
    counts = sorted({len(argument) for argument in arguments})
    if len(counts) > 1:
      raise ValueError(f'The client-placed arguments are of different lengths: {counts}.')
    self.size = counts[0] if counts else 0
    self._stacks: list[ClientStack] = [
      a for a in arguments if isinstance(a, ClientStack) and _fits(a, chunks)
    ]
    self._arguments = arguments
    self.shares = (self._stacks and self._stacks[0].shares) or self._assign(types, chunks)

  def _assign(self, types, chunks: int) -> list[list[int]]:
    names = [_leaf_names(member) for member in types]
    weights = [0.0] * self.size
    for leaf_names, clients in zip(names, self._leaves):
      for position, leaves in enumerate(clients):
        weights[position] += _weight(leaf_names, leaves)
    return assign(weights, chunks)

  def leaves(self, argument: int, chunk: int) -> list[layouts.RawLeaf]:
    """The leaves of one argument's values at the clients of a chunk."""
    share, ready = self.shares[chunk], None
    for stack in self._stacks:
      if stack is self._arguments[argument] and stack.shares == self.shares and stack.leaves:
        ready = stack.leaves[chunk]
    result = []
    for index in range(len(self._types[argument])):
      column = [self._leaves[argument][position][index] for position in share]
      if ready and ready[index].buffer.dtype == column[0].dtype:
        result.append(ready[index])
      else:
        result.append(layouts.raw_leaf(column))
    return result


def _fits(stack: ClientStack, chunks: int) -> bool:
  return stack.shares is not None and len(stack.shares) == min(chunks, len(stack))


def _leaf_names(type_signature, name: str = '') -> list[str]:
  if isinstance(type_signature, tff.StructType):
    elements = tff.structure.iter_elements(type_signature)
    return [leaf for key, member in elements for leaf in _leaf_names(member, key or '')]
  return [name]


def _checked(clients: Sequence, member_type: tff.Type) -> list[list]:
  if not isinstance(clients, list):
    raise TypeError(f'Expected a list of clients, found {type(clients).__name__}.')
  leaf_types = pieces.leaf_types(member_type)
  checked = []
  for position, client in enumerate(clients):
    try:
      leaves = values.flatten(client, member_type)
      checked.append([_checked_leaf(*both) for both in zip(leaves, leaf_types)])
    except TypeError as error:
      raise TypeError(f'client {position} of the cohort: {error}') from error
  return checked


def _checked_leaf(leaf, leaf_type):
  if isinstance(leaf_type, tff.SequenceType):
    return values.as_variant(leaf, leaf_type)
  return values.as_array(leaf, leaf_type)

"""Secure sums that a protocol computes, and not the runtime.

`federated_secure_sum` and its like add up whole numbers from 0 to a bound that is known beforehand.
The terms of all such sums of a step lie side by side in one vector per client, over Z_2^b with b so
large that no sum wraps around. A `Summer` is given these vectors and gives back their sum; what it
needs to know of them, and tells whom, is its own affair.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import itertools
from typing import NamedTuple, Optional

import numpy as np
import tensorflow_federated as tff

from fl_research.runtime import errors, expressions, graph_functions

Summer = Callable[[Mapping[int, np.ndarray], int, int], np.ndarray]
"""(vectors by client, their size, b) -> their sum modulo 2^b; all are uint64 [size].

Clients are numbered by their positions in the cohort. The mapping makes a vector whenever it is
asked for one."""

_MOST_BITS = 64


class Bound(NamedTuple):
  """Of a leaf's terms.

  Attributes:
    largest: the greatest term.
    modulus: modulo what the sum is taken; None for the sum itself.
  """

  largest: int
  modulus: Optional[int] = None


Bounds = tuple[Bound, ...]
"""For each leaf of a value."""

BOUNDS: Mapping[str, Callable[[int], Bound]] = {
  'federated_secure_sum': Bound,
  'federated_secure_sum_bitwidth': lambda bits: Bound(2**bits - 1),
  'federated_secure_modular_sum': lambda modulus: Bound(modulus - 1, modulus),
}
"""By intrinsic: what its second argument says of the terms."""


def bounds_of(uri: str, block, member_type: tff.Type) -> Bounds:
  """The bounds of a secure sum's terms.

  Args:
    uri: the intrinsic.
    block: its second argument, a number or one for each leaf.
    member_type: the type of a client's terms.

  Raises:
    NotReducible: the numbers are not constants.
  """
  numbers = list(_numbers(block))
  leaves = len(graph_functions.leaf_types(member_type))
  if len(numbers) == 1:
    numbers *= leaves
  return tuple(BOUNDS[uri](number) for number in numbers)


def _numbers(block) -> Iterator[int]:
  if isinstance(block, tff.framework.Struct):
    for member in block:
      yield from _numbers(member)
  elif isinstance(block, tff.framework.Literal):
    yield int(block.value)
  else:
    raise expressions.NotReducible('a secure sum has a bound that is no constant')


Rows = Sequence[Sequence[np.ndarray]]
"""For each client, the leaves of its terms."""


def totals(bounds: Bounds, rows: Rows, summer: Summer) -> list[np.ndarray]:
  """The sums of the clients' leaves, each of the type of its terms.

  Args:
    bounds: of the leaves.
    rows: of one client or more.
    summer: who adds up.

  Raises:
    ComputationError: a term is out of bounds, or sums need more than 64 bits.
  """
  terms = _Terms(bounds, rows)
  size = sum(leaf.size for leaf in rows[0])
  bits = max(_bits(bound, len(rows)) for bound in bounds)
  if bits > _MOST_BITS:
    raise errors.ComputationError(
      f'secure sums of {len(rows)} clients need {bits} bits; at most {_MOST_BITS} can be had'
    )
  total = summer(terms, size, bits)
  ends = itertools.accumulate(leaf.size for leaf in rows[0])
  parts = np.split(total, list(ends)[:-1])
  return [_of_leaf(*both) for both in zip(parts, bounds, rows[0])]


def _bits(bound: Bound, clients: int) -> int:
  return max(1, (clients * bound.largest).bit_length())


def _of_leaf(total: np.ndarray, bound: Bound, leaf: np.ndarray) -> np.ndarray:
  if bound.modulus is not None:
    total = total % np.uint64(bound.modulus)
  return total.astype(leaf.dtype).reshape(leaf.shape)


class _Terms(Mapping[int, np.ndarray]):
  """Each client's terms side by side, made when asked for."""

  def __init__(self, bounds: Bounds, rows: Rows):
    self._bounds, self._rows = bounds, rows

  def __len__(self) -> int:
    return len(self._rows)

  def __iter__(self) -> Iterator[int]:
    return iter(range(len(self._rows)))

  def __getitem__(self, client: int) -> np.ndarray:
    leaves = self._rows[client]
    for leaf, bound in zip(leaves, self._bounds):
      if leaf.size and not 0 <= leaf.min() <= leaf.max() <= bound.largest:
        raise errors.ComputationError(
          f'a term of a secure sum is not from 0 to {bound.largest}', client
        )
    return np.concatenate([leaf.reshape(-1).astype(np.uint64) for leaf in leaves])

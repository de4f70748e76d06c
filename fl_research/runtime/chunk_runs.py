"""The client loop over a chunk, slice by slice: what every process does that computes one.

A chunk is as many clients as the cohort's being cut makes it, perhaps more than memory holds. Its
slices are few enough, and each goes on with the accumulators that the one before has left: the
same additions in the same order as of one loop over all of them, hence the same bits.

Nothing here needs TFF.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import NamedTuple, Optional

import tensorflow as tf

from fl_research.runtime import described, errors, layouts

Key = str
Tensors = Sequence[tf.Tensor]


class Slice(NamedTuple):
  """Some of a chunk's clients.

  Attributes:
    first: the place of the first, where all clients stand chunk after chunk.
    share: their positions in the cohort.
  """

  first: int
  share: Sequence[int]


@dataclasses.dataclass(frozen=True)
class Chunk:
  """A part of a cohort.

  Attributes:
    index: which part.
    slices: its clients, in their order.
  """

  index: int
  slices: tuple[Slice, ...]

  @property
  def share(self) -> list[int]:
    """The positions of its clients in the cohort."""
    return [position for piece in self.slices for position in piece.share]


@dataclasses.dataclass(frozen=True)
class LoopSignature:
  """What the loop's function takes and gives, besides place and number of the clients.

  Attributes:
    inputs: the keys of its inputs.
    zeros: of each folded accumulator, the key of what it begins with and how many leaves it has;
      the leaves of all of them are the first results.
  """

  inputs: tuple[Key, ...]
  zeros: tuple[tuple[Key, int], ...]

  def accumulators(self, results: Tensors) -> dict[Key, Tensors]:
    """The folded accumulators among the results, as what the next slice begins with."""
    found = {}
    for key, leaves in self.zeros:
      found[key], results = results[:leaves], results[leaves:]
    return found

  def arguments(self, values: Mapping[Key, Tensors]) -> list[tf.Tensor]:
    """The tensors of all inputs, in the function's order."""
    return [tensor for key in self.inputs for tensor in values[key]]

  @property
  def leaves(self) -> int:
    """How many of the results are folded."""
    return sum(leaves for _, leaves in self.zeros)


class ChunkResults(NamedTuple):
  """What a chunk gives.

  Attributes:
    folded: the leaves of its folded accumulators.
    collected: for each slice, the tensors of what was collected.
  """

  folded: Tensors
  collected: list[Tensors]


RunSlice = Callable[[Chunk, int, int, Mapping[Key, Tensors]], Tensors]
"""(chunk, number of the slice, number of its clients, accumulators so far) -> the loop's results.

The accumulators are empty for the first slice; the clients are the slice's first so many."""


def run_chunk(run: RunSlice, signature: LoopSignature, chunk: Chunk) -> ChunkResults:
  """Runs the loop over a chunk.

  Raises:
    ComputationError: the work of a client failed; names the first one whose work does.
  """
  accumulators: dict[Key, Tensors] = {}
  collected: list[Tensors] = []
  results: Tensors = ()
  devices = tf.config.list_logical_devices('GPU') or tf.config.list_logical_devices('CPU')
  with tf.device(devices[chunk.index % len(devices)].name):
    for number, piece in enumerate(chunk.slices):
      try:
        results = run(chunk, number, len(piece.share), accumulators)
      except tf.errors.OpError as error:
        first = lambda count, n=number, so_far=accumulators: run(chunk, n, count, so_far)
        raise _client_error(first, piece, error) from error
      accumulators = signature.accumulators(results)
      collected.append(results[signature.leaves :])
  return ChunkResults(results[: signature.leaves], collected)


def _client_error(run: Callable[[int], Tensors], piece: Slice, error) -> errors.ComputationError:
  """The error of a slice, with the first client at which it arises.

  The loop over the clients stops at the first failure, so the first `count` clients fail exactly
  if that client is among them: a search by halves finds it. A failure that does not repeat could
  be any client's.
  """
  fine, failing = 0, len(piece.share)
  if failing > 1 and _error_of(run, failing) is None:
    return errors.ComputationError(errors.message_of(error))
  while failing - fine > 1:
    count = (fine + failing) // 2
    earlier = _error_of(run, count)
    if earlier is None:
      fine = count
    else:
      failing, error = count, earlier
  return errors.ComputationError(errors.message_of(error), piece.share[failing - 1])


def _error_of(run: Callable[[int], Tensors], count: int) -> Optional[tf.errors.OpError]:
  """The error of the work of the first so many clients; None if there is none."""
  try:
    run(count)
  except tf.errors.OpError as error:
    return error
  return None


def described_leaves(
  clients: described.DescribedClients,
  names: Sequence[str],
  specs: Sequence[tf.TensorSpec],
  positions: Sequence[int],
) -> list[layouts.RawLeaf]:
  """Makes clients' values and puts them side by side.

  Args:
    clients: their description.
    names: the leaves, in the order of the type.
    specs: their types.
    positions: the clients' positions in the cohort, for the message.

  Raises:
    TypeError: a value is not of its type.
  """
  columns = described.columns(clients, names)
  for name, spec, column in zip(names, specs, columns):
    for position, leaf in zip(positions, column):
      if not spec.is_compatible_with(tf.TensorSpec(leaf.shape, leaf.dtype)):
        raise TypeError(
          f'client {position} of the cohort: Expected {name[1:]} of type {spec.dtype.name} and '
          f'shape {spec.shape}, found {leaf.dtype} {leaf.shape}.'
        )
  return [layouts.raw_leaf(column) for column in columns]

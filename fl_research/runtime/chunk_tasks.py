"""A chunk as a task for another process, which has TensorFlow and not TFF.

A task is a pure function of what is in it and of what it names: computed twice, by whomever, it
gives the same bits. What many tasks share is not in it and named: the loop's function by its hash,
what the server sent and what clients are made of by whatever the sender's store calls them.

    driver   task_of(work, call, chunk) ──►  Task, pickled
    worker   run(task, function, server, sources) ──► Reply, pickled
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Optional, Union

import numpy as np
import tensorflow as tf

from fl_research.runtime import chunk_runs, described, errors, layouts


class DataSets(tuple):
  """Data sets, each as the serialised graph that makes it."""


Packed = Union[np.ndarray, DataSets]


def pack(tensor: tf.Tensor) -> Packed:
  """A tensor for another process: an array, or the data sets of a vector of variants."""
  if tensor.dtype == tf.string:
    return np.array(tensor.numpy(), object)  # NumPy's own strings lose zeros at their ends.
  if tensor.dtype != tf.variant:
    return np.asarray(tensor.numpy())
  variants = [tensor] if tensor.shape.rank == 0 else tf.unstack(tensor)
  graphs = (tf.raw_ops.DatasetToGraphV2(input_dataset=variant) for variant in variants)
  return DataSets(graph.numpy() for graph in graphs)


def unpack(packed: Packed, spec: tf.TensorSpec) -> tf.Tensor:
  """The tensor that was packed."""
  if not isinstance(packed, DataSets):
    return layouts.to_tensor(packed, spec.dtype)
  variants = [tf.raw_ops.DatasetFromGraph(graph_def=graph) for graph in packed]
  return variants[0] if spec.shape.rank == 0 else tf.stack(variants)


@dataclasses.dataclass(frozen=True)
class DescribedArgument:
  """An argument whose values the worker makes.

  Attributes:
    clients: the description of the chunk's, without its source.
    source: what the sender's store calls the source.
    names, specs: of the leaves of a client's value.
  """

  clients: described.DescribedClients
  source: Any
  names: tuple[str, ...]
  specs: tuple[tf.TensorSpec, ...]


@dataclasses.dataclass(frozen=True)
class Task:
  """The work of a chunk.

  Attributes:
    chunk: its clients.
    signature: the loop's.
    specs: of the tensors of each input.
    described: the arguments that are made by the worker, by key.
    given: the tensors of other values at the clients, by key and slice.
  """

  chunk: chunk_runs.Chunk
  signature: chunk_runs.LoopSignature
  specs: Mapping[str, Sequence[tf.TensorSpec]]
  described: Mapping[str, DescribedArgument]
  given: Mapping[str, Sequence[Sequence[Packed]]]

  def given_to(self, number: int) -> dict[str, list[tf.Tensor]]:
    """The tensors, by key, that a slice is given."""
    return {key: self.tensors(key, of_slices[number]) for key, of_slices in self.given.items()}

  def tensors(self, key: str, values: Sequence[Packed]) -> list[tf.Tensor]:
    """The tensors of an input."""
    return [unpack(value, spec) for value, spec in zip(values, self.specs[key])]


@dataclasses.dataclass(frozen=True)
class Reply:
  """What a task comes to.

  Attributes:
    folded, collected: as of `chunk_runs.ChunkResults`.
    error: what the work said when it failed; None where it did not.
    client: the position in the cohort of the client whose work failed, where that is known.
  """

  folded: Sequence[Packed] = ()
  collected: Sequence[Sequence[Packed]] = ()
  error: Optional[str] = None
  client: Optional[int] = None


def run(
  task: Task,
  function: Any,
  server: Mapping[str, Sequence[tf.Tensor]],
  sources: Mapping[Any, Any],
) -> Reply:
  """Computes a chunk.

  Args:
    task: the chunk.
    function: the loop's, imported.
    server: the tensors of what the server sent, by key.
    sources: what described clients are made of, by what the task calls it.
  """

  def run_slice(chunk, number, count, accumulators):
    values = {**server, **task.given_to(number), **accumulators}
    for key, argument in task.described.items():
      values[key] = _made(argument, chunk, number, sources[argument.source])
    return function(tf.constant(0), tf.constant(count), *task.signature.arguments(values))

  try:
    results = chunk_runs.run_chunk(run_slice, task.signature, task.chunk)
  except errors.ComputationError as error:
    return Reply(error=error.words, client=error.client)
  return Reply(
    folded=[pack(tensor) for tensor in results.folded],
    collected=[[pack(tensor) for tensor in tensors] for tensors in results.collected],
  )


def _made(argument: DescribedArgument, chunk: chunk_runs.Chunk, number: int, source: Any):
  """The arranged tensors of a slice's clients."""
  piece = chunk.slices[number]
  begin = piece.first - chunk.slices[0].first
  clients = argument.clients.part(range(begin, begin + len(piece.share)), source)
  leaves = chunk_runs.described_leaves(clients, argument.names, argument.specs, piece.share)
  return layouts.arranged(argument.specs, leaves)

"""Making tasks of the chunks of a call, and reading what they come to."""

from collections.abc import Callable
from typing import Any

from fl_research.runtime import chunk_runs, chunk_tasks, chunks, errors, invocation, server_steps


def server_values(work: invocation.ClientWork, call: invocation.Call) -> dict[str, list]:
  """What the server sends to all clients of a step, packed, by key."""
  keys = [key for key in work.loop.inputs if key in call.tensors]
  return {key: [chunk_tasks.pack(tensor) for tensor in call.tensors[key]] for key in keys}


def task_of(
  work: invocation.ClientWork,
  call: invocation.Call,
  chunk: chunk_runs.Chunk,
  name_of: Callable[[Any], Any],
) -> chunk_tasks.Task:
  """The task of a chunk; `name_of` names the source of described clients."""
  loop = work.loop
  made: dict[str, chunk_tasks.DescribedArgument] = {}
  given: dict[str, list] = {}
  for key in loop.arguments:
    argument = call.cohort.arguments[call.arguments[key]]
    if isinstance(argument, chunks.Described):
      made[key] = chunk_tasks.DescribedArgument(
        clients=argument.clients.part(chunk.share, None),
        source=name_of(argument.clients.source),
        names=tuple(argument.names),
        specs=tuple(argument.specs),
      )
    else:
      given[key] = [_packed(work.arranged(call, key, piece)) for piece in chunk.slices]
  for key in (key for key in loop.inputs if key in call.by_chunk):
    given[key] = [_packed(tensors) for tensors in call.by_chunk[key][chunk.index]]
  specs = {key: shape.specs for key, shape in zip(loop.inputs, loop.shapes)}
  return chunk_tasks.Task(chunk, loop.signature, specs, made, given)


def _packed(tensors: chunk_runs.Tensors) -> list[chunk_tasks.Packed]:
  return [chunk_tasks.pack(tensor) for tensor in tensors]


def results_of(reply: chunk_tasks.Reply, work: invocation.ClientWork) -> chunk_runs.ChunkResults:
  """What a chunk gives.

  Raises:
    ComputationError: its work failed.
  """
  if reply.error is not None:
    raise errors.ComputationError(reply.error, reply.client)
  loop = work.loop
  folded_specs = server_steps.signature_of(loop.folded_shapes)
  collected_specs = server_steps.signature_of(loop.collectors)
  unpacked = lambda values, specs: [chunk_tasks.unpack(*both) for both in zip(values, specs)]
  return chunk_runs.ChunkResults(
    unpacked(reply.folded, folded_specs),
    [unpacked(values, collected_specs) for values in reply.collected],
  )

"""What runs in a Ray actor: TensorFlow and the work of chunks, without TFF.

What chunks share comes by reference, and is fetched once: the loop's function by its hash, the
populations that clients are made of, and, until the next comes, what the server sent.
"""

from collections.abc import Mapping
import dataclasses
import os
import socket
from typing import Any

from fl_research import environment  # noqa: F401  before TensorFlow

MOST_SOURCES = 4
"""How many populations an actor keeps, which serves one run after the other."""


@dataclasses.dataclass(frozen=True)
class Shared:
  """References to what the chunks of a step share.

  Attributes:
    hash: names the loop's function.
    function: its `flat_function.Exported`.
    server: what the server sent, packed, by key.
    sources: the populations, by name.
  """

  hash: str
  function: Any
  server: Any
  sources: Mapping[str, Any]


class ChunkActor:
  """Computes chunks, one at a time.

  Args:
    kernel_threads: threads of each TensorFlow kernel, which results depend on.
  """

  def __init__(self, kernel_threads: int):
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(kernel_threads)
    self._functions: dict[str, Any] = {}
    self._sources: dict[str, Any] = {}
    self._server: tuple[Any, Any] = (None, None)

  def ready(self) -> dict[str, Any]:
    """Who this is."""
    return {'host': socket.gethostname(), 'process': os.getpid()}

  def run(self, shared: Shared, task: Any) -> Any:
    """Computes a chunk: `chunk_tasks.run`."""
    from fl_research.runtime import chunk_tasks

    function, server = self._function(shared), self._sent(shared, task)
    sources = {name: self._source(name, shared) for name in shared.sources}
    return chunk_tasks.run(task, function, server, sources)

  def _function(self, shared: Shared) -> Any:
    import ray

    from fl_research.runtime import flat_function

    if shared.hash not in self._functions:
      self._functions[shared.hash] = flat_function.ImportedFunction(ray.get(shared.function))
    return self._functions[shared.hash]

  def _source(self, name: str, shared: Shared) -> Any:
    import ray

    if name not in self._sources:
      while len(self._sources) >= MOST_SOURCES:
        self._sources.pop(next(iter(self._sources)))
      self._sources[name] = ray.get(shared.sources[name])
    return self._sources[name]

  def _sent(self, shared: Shared, task: Any) -> Mapping[str, Any]:
    import ray

    name = shared.server.hex()
    if self._server[0] != name:
      self._server = (None, None)  # Two models need not be here at the same time.
      packed = ray.get(shared.server)
      self._server = name, {key: task.tensors(key, values) for key, values in packed.items()}
    return self._server[1]

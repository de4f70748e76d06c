"""Chunks on the actors of a Ray cluster, whatever becomes of these.

Ray places the actors, sees when one dies, and starts it again. What is done here is to keep each
busy with one chunk, and to make sure that every chunk has a result, and one result only:

- A chunk is a pure function of what it is sent. One whose actor has died goes to the next that is
  free, at once: what died starts again meanwhile, wherever there is room, and nobody waits for it
  as long as others live.
- Towards the end of a step a chunk that takes much longer than others did is given to an idle actor
  too; the first result counts. Nothing is ever left out since it was late.
- A chunk that nobody has answered for very long ends its actor, and is sent again.
- Results are kept by chunk and handed on in the chunks' order, so that neither number nor order nor
  death of actors changes a bit.
"""

import collections
from collections.abc import Callable, Iterator
import dataclasses
import threading
import time
from typing import Any, Optional

from absl import logging

from fl_research.runtime import errors, flat_function, ray_actor, ray_cluster, task_making

START_SECONDS = 300.0
"""For how long no actor at all may be there."""

LEAST_DEADLINE = 600.0
"""Seconds within which a chunk's actor must have answered, doubled each time it has not..."""

TIMES_THE_LONGEST = 20.0
"""... or so many times the longest chunk so far, if that is more."""

STRAGGLER = 3.0
"""How often the longest chunk of its step a chunk must take to be given to a second actor."""

LEAST_STRAGGLING = 2.0
"""Seconds that it must have taken besides."""

MOST_ATTEMPTS = 8
"""After how many actors have died of one chunk it counts as their cause."""

MOST_FAILURES = 3
"""How often in a row an actor may fail to start."""

_TICK = 0.5


@dataclasses.dataclass
class _Actor:
  """An actor as the driver knows it.

  Attributes:
    handle: Ray's.
    there: whether it has started.
    ready: its promise to have, where it was asked.
    ask_at: when to ask it again.
    busy: its promise of a result; None while it has nothing to do.
    index: of which chunk; None where nobody waits for the result any more.
    since: since when.
    failures: how often in a row it could not be started.
  """

  handle: Any
  there: bool = False
  ready: Optional[Any] = None
  ask_at: float = 0.0
  busy: Optional[Any] = None
  index: Optional[int] = None
  since: float = 0.0
  failures: int = 0

  @property
  def idle(self) -> bool:
    """Whether it can be given a chunk."""
    return self.there and self.busy is None

  def promise(self) -> Optional[Any]:
    """What it is to give next: a result, or word that it is there; None where neither."""
    if self.there:
      return self.busy
    if self.ready is None and time.monotonic() >= self.ask_at:
      self.ready = self.handle.ready.remote()
    return self.ready

  def is_lost(self) -> None:
    """Notes that it must start again."""
    self.there, self.ready, self.busy, self.index = False, None, None, None
    self.ask_at = time.monotonic() + _TICK


@dataclasses.dataclass
class Counts:
  """What has happened so far."""

  chunks_computed: int = 0
  actors_lost: int = 0
  chunks_sent_again: int = 0
  chunks_doubled: int = 0


class Actors:
  """Has calls' chunks computed by Ray actors; see the module's docstring.

  Args:
    cluster: where they run.
    wanted: how many; None for as many as there are cores and memory for.
    kernel_threads: threads of each TensorFlow kernel.

  Attributes:
    counts: what has happened so far.
  """

  def __init__(self, cluster: ray_cluster.Cluster, wanted: Optional[int], kernel_threads: int):
    self._cluster = cluster
    self._number = cluster.actors(wanted)
    self._kernel_threads = kernel_threads
    self._lock = threading.Lock()
    self._functions: dict[str, Any] = {}
    self._sources: dict[int, tuple[Any, Any]] = {}
    self._longest = 0.0
    self.counts = Counts()
    if wanted and self._number < wanted:
      logging.warning('Ray: %d actors, where %d were wanted: there is not more room.', *self.size)
    self._actors = [self._created() for _ in range(self._number)]

  @property
  def size(self) -> tuple[int, int]:
    """How many actors are there, and how many there are to be."""
    return sum(actor.there for actor in self._actors), self._number

  def _created(self) -> _Actor:
    import ray

    remote = ray.remote(ray_actor.ChunkActor).options(
      num_cpus=1, memory=ray_cluster.ACTOR_BYTES, max_restarts=-1, max_task_retries=0
    )
    return _Actor(remote.remote(self._kernel_threads))

  def results(self, work: Any, call: Any) -> Iterator[Any]:
    """What each chunk of a step gives, in their order; see `invocation.Threads`."""
    import ray

    with self._lock:
      shared = ray_actor.Shared(
        *self._function(work),
        server=ray.put(task_making.server_values(work, call)),
        sources={},
      )

      def send(actor: _Actor, index: int) -> Any:
        sources: dict[str, Any] = {}

        def name_of(source: Any) -> str:
          reference = self._source(source)
          sources[reference.hex()] = reference
          return reference.hex()

        task = task_making.task_of(work, call, call.chunks[index], name_of)
        return actor.handle.run.remote(dataclasses.replace(shared, sources=sources), task)

      step = _Step(self, len(call.chunks), send)
      for reply in step.replies():
        yield task_making.results_of(reply, work)

  def _function(self, work: Any) -> tuple[str, Any]:
    import ray

    exported: flat_function.Exported = work.exported
    if exported.hash not in self._functions:
      self._functions[exported.hash] = ray.put(exported)
    return exported.hash, self._functions[exported.hash]

  def _source(self, source: Any) -> Any:
    """The reference to what clients are made of; sent once, as long as it is the same object."""
    import ray

    if id(source) not in self._sources:
      while len(self._sources) >= ray_actor.MOST_SOURCES:
        self._sources.pop(next(iter(self._sources)))
      self._sources[id(source)] = source, ray.put(source)
    return self._sources[id(source)][1]


class _Step:
  """The chunks of one step: which wait, which are at work, which are done.

  Args:
    pool: the actors.
    number: of chunks.
    send: gives a chunk to an actor; gives the promise of the reply.
  """

  def __init__(self, pool: Actors, number: int, send: Callable[[_Actor, int], Any]):
    self._pool = pool
    self._send = send
    self._waiting = collections.deque(range(number))
    self._number = number
    self._done: set[int] = set()
    self._replies: dict[int, Any] = {}
    self._attempts = [0] * number
    self._longest = 0.0
    self._words = 'none has answered'
    self._last_life = time.monotonic()
    for actor in pool._actors:
      actor.index = None  # What it may still be at is of a call that has ended.

  def replies(self) -> Iterator[Any]:
    """The chunks' replies in their order."""
    for index in range(self._number):
      while index not in self._replies:
        self._give_out()
        self._wait()
      yield self._replies.pop(index)

  def _give_out(self) -> None:
    for actor in self._pool._actors:
      if not actor.idle:
        continue
      if self._waiting:
        self._start(actor, self._waiting.popleft())
      elif (index := self._straggler()) is not None:
        self._pool.counts.chunks_doubled += 1
        self._start(actor, index)

  def _start(self, actor: _Actor, index: int) -> None:
    actor.busy, actor.index = self._send(actor, index), index
    actor.since = time.monotonic()

  def _straggler(self) -> Optional[int]:
    """The chunk that one actor has been at for longest, if that is suspiciously long."""
    if not self._longest:
      return None
    at_work = [a for a in self._pool._actors if a.busy is not None and a.index is not None]
    counts = collections.Counter(actor.index for actor in at_work)
    alone = [a for a in at_work if counts[a.index] == 1 and a.index not in self._done]
    slowest = min(alone, key=lambda actor: actor.since, default=None)
    patience = max(STRAGGLER * self._longest, LEAST_STRAGGLING)
    if slowest is None or time.monotonic() - slowest.since < patience:
      return None
    return slowest.index

  def _wait(self) -> None:
    """Until an actor has something to say, or for a moment."""
    import ray

    promises = {actor.promise(): actor for actor in self._pool._actors}
    promises.pop(None, None)
    if promises:
      kept, _ = ray.wait(list(promises), num_returns=1, timeout=_TICK, fetch_local=False)
      for promise in kept:
        actor = promises[promise]
        self._take(actor) if actor.there else self._welcome(actor)
    else:
      time.sleep(_TICK)
    self._end_the_late()
    self._check_life()

  def _take(self, actor: _Actor) -> None:
    """Takes a chunk's reply, or finds that its actor has died."""
    import ray

    promise, index = actor.busy, actor.index
    try:
      reply = ray.get(promise)
    except ray.exceptions.RayTaskError as error:
      if index is None or index in self._done:
        actor.busy = actor.index = None
        return
      raise errors.WorkersError(f'Ray: an actor failed: {_own_words(error)}') from error
    except ray.exceptions.RayError as error:
      self._lose(actor, ray_cluster.one_line(error))
      return
    if index is not None:
      seconds = time.monotonic() - actor.since
      self._longest = max(self._longest, seconds)
      self._pool._longest = max(self._pool._longest, seconds)
      if index not in self._done:
        self._done.add(index)
        self._replies[index] = reply
        self._pool.counts.chunks_computed += 1
    actor.busy = actor.index = None

  def _lose(self, actor: _Actor, words: str) -> None:
    """Sends a dead actor's chunk again; the actor itself is awaited."""
    index = actor.index
    actor.is_lost()
    self._words = words
    self._pool.counts.actors_lost += 1
    logging.warning('Ray: an actor was lost, its chunk is sent again: %s', words)
    if index is None or index in self._done:
      return
    self._attempts[index] += 1
    if self._attempts[index] >= MOST_ATTEMPTS:
      raise errors.WorkersError(
        f'Ray: chunk {index} of {self._number} has ended {MOST_ATTEMPTS} actors, the last: {words}'
      )
    if all(other.index != index for other in self._pool._actors):
      self._waiting.appendleft(index)
      self._pool.counts.chunks_sent_again += 1

  def _welcome(self, actor: _Actor) -> None:
    """Takes an actor that has started, or finds that it could not."""
    import ray

    try:
      ray.get(actor.ready)
    except ray.exceptions.ActorUnavailableError:
      actor.is_lost()  # It is being started.
    except ray.exceptions.RayError as error:
      self._words = _own_words(error)
      actor.failures += 1
      if actor.failures >= MOST_FAILURES:
        raise errors.WorkersError(f'Ray: actors cannot be started: {self._words}') from error
      actor.handle = self._pool._created().handle
      actor.is_lost()
    else:
      actor.there, actor.ready, actor.failures = True, None, 0

  def _end_the_late(self) -> None:
    import ray

    now = time.monotonic()
    least = max(LEAST_DEADLINE, TIMES_THE_LONGEST * self._pool._longest)
    for actor in self._pool._actors:
      if actor.busy is None:
        continue
      deadline = least * 2 ** (self._attempts[actor.index] if actor.index is not None else 0)
      if now - actor.since > deadline:
        ray.kill(actor.handle, no_restart=False)
        self._lose(actor, f'no answer within {deadline:.0f} s')

  def _check_life(self) -> None:
    now = time.monotonic()
    if any(actor.there for actor in self._pool._actors):
      self._last_life = now
    elif now - self._last_life > START_SECONDS:
      import ray

      raise errors.WorkersError(
        f'Ray: no actor for {START_SECONDS:.0f} s, {len(self._pool._actors)} are waiting for a '
        f'core and {ray_cluster.ACTOR_BYTES >> 30} GB each; free are {ray.available_resources()}; '
        f'the last was lost to: {self._words}'
      )


def _own_words(error: Any) -> str:
  """The last line of what an actor says: the error itself, below the trace that led to it."""
  cause = getattr(error, 'cause', None)
  text = str(cause if isinstance(cause, BaseException) else error)
  lines = [line.strip() for line in text.splitlines() if line.strip()]
  kind = f'{type(cause).__name__}: ' if isinstance(cause, BaseException) else ''
  return kind + (lines[-1] if lines else type(error).__name__)

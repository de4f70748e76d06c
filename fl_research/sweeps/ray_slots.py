"""Slots on a Ray cluster: in each an actor, and in the actor a slot of its node.

The processes that make the runs are those of `fl_research.sweeps.local_slots` on whatever node, so
that the runs are the same to the byte. Ray decides where there are processors for an actor, and
tells when one has died: with its process, which the kernel then kills. Its run has another turn,
and goes on from its last checkpoint. Python's environment, the project, the data and the folder of
the sweep must be on a disk that all nodes share.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import itertools
import os
import pathlib
import platform
import signal
import tempfile
import time
from typing import Any, Optional
import uuid

import ray
import ray.exceptions

from fl_research.registry import UsageError
from fl_research.runtime import ray_cluster
from fl_research.sweeps import local_slots, runner
from fl_research.sweeps.local_slots import LocalSlot
from fl_research.sweeps.runner import Job
from fl_research.training import folder_lock

FLAG = '--launch=ray'
_LOOK_SECONDS = 0.02
_ANSWER_SECONDS = 1.0


@contextlib.contextmanager
def cluster(address: str) -> Iterator['Cluster']:
  """Meanwhile there is a connection to a Ray cluster.

  Args:
    address: of one that is there; when empty, Ray is started on this machine, with as many
      processors as this process may use, and ended afterwards. See `ray_cluster.Cluster`.

  Raises:
    UsageError: there is no cluster at the address.
  """
  # GPUs that a node has stay visible to the runs.
  os.environ.setdefault('RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO', '0')
  connection = ray_cluster.Cluster(address, len(os.sched_getaffinity(0)), FLAG)
  with contextlib.ExitStack() as stack:
    stack.callback(connection.close)
    # A run that is lost with its node may so be gone on with on another one.
    sweep = {folder_lock.SWEEP_VARIABLE: uuid.uuid4().hex}
    yield Cluster({**local_slots.variables(), **sweep}, stack)


class Cluster:
  """A Ray cluster that this process is connected to.

  Args:
    variables: the environment of the processes that make the runs.
    stack: of what is to be done when the connection ends.
  """

  def __init__(self, variables: Mapping[str, str], stack: contextlib.ExitStack):
    self._variables = variables
    self._stack = stack

  def slots(self, parallel: int, jobs: Sequence[Job]) -> list['RaySlot']:
    """Slots for jobs, so many at most; 0: one per processor of the cluster.

    Each has its share of the processors, at most those of one node.
    """
    if not jobs:
      return []
    nodes = [int(node['Resources'].get('CPU', 0)) for node in ray.nodes() if node['Alive']]
    count = min(parallel or max(1, sum(nodes)), len(jobs))
    processors = max(1, min(sum(nodes) // count, max(nodes)))
    print(f'Ray: up to {count} runs at a time, on {processors} processors each', flush=True)
    folder = jobs[0].log.parent.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    token = self._stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix='.ray-'))
    host = ray.remote(num_cpus=processors)(_Host)
    begin = lambda: host.remote(self._variables, str(pathlib.Path.cwd()), token)
    taken: set[tuple[str, int]] = set()
    return [RaySlot(begin, taken, processors) for _ in range(count)]


class RaySlot:
  """A slot, see `runner.Slot`. Its actor is begun, and waited for, when there is a job for it.

  Args:
    begin: begins with an actor, a `_Host`.
    taken: the shares of the nodes' processors that slots have, (node, number of the share).
    processors: how many a share has.
  """

  def __init__(self, begin: Callable[[], Any], taken: set[tuple[str, int]], processors: int):
    self._begin, self._taken, self._processors = begin, taken, processors
    self._host: Any = None
    self._seen: Any = None
    self._answer: Any = None
    self._share: Optional[tuple[str, int]] = None
    self._failures = 0
    self.process: Optional[str] = None

  @property
  def ready(self) -> bool:
    if self._host is None:
      self._host = self._begin()
      self._seen = self._host.look.remote()
    if self._share is None and _is_there(self._seen):
      self._settle()
    return self._share is not None

  def _settle(self) -> None:
    """Has the actor, which is on its node now, take cores there that no other has.

    Raises:
      UsageError: the node cannot do what runs need.
    """
    try:
      node, complaint = ray.get(self._seen)
    except ray.exceptions.RayActorError as error:
      self._failures += 1
      if self._failures > runner.MOST_LOSSES:
        raise UsageError(
          f'{FLAG}: no process begins on the cluster ({ray_cluster.one_line(error)})'
        ) from error
      self.kill()
      return
    if complaint:
      raise UsageError(f'{FLAG}: {complaint}')
    number = next(n for n in itertools.count() if (node, n) not in self._taken)
    self._share = node, number
    self._taken.add(self._share)
    self._host.take.remote(number, self._processors)

  def start(self, job: Job) -> None:
    self._host.start.remote(job)
    self._answer = self._host.code.remote()

  def code(self) -> Optional[int]:
    if not _is_there(self._answer):
      return None
    try:
      answer = ray.get(self._answer)
    except ray.exceptions.RayActorError as error:
      self.kill()
      raise runner.LostError(f'its Ray actor died ({ray_cluster.one_line(error)})') from error
    if answer is None:
      self._answer = self._host.code.remote()
      return None
    code, self.process = answer
    return code

  def ask_to_end(self) -> None:
    if self._host is not None:
      self._host.ask_to_end.remote()

  def wait(self, seconds: float) -> None:
    if self._share is not None:
      with contextlib.suppress(ray.exceptions.RayError):
        ray.get(self._host.wait.remote(seconds), timeout=seconds)

  def kill(self) -> None:
    if self._host is not None:
      ray.kill(self._host)
    if self._share is not None:
      self._taken.remove(self._share)
    self._host, self._share, self.process = None, None, None


def _is_there(reference: Any) -> bool:
  return bool(ray.wait([reference], timeout=0)[0])


class _Host:
  """What the actors are: a slot of the node that each is on.

  Args:
    variables: the environment of the processes that make the runs.
    folder: what paths in their flags are relative to.
    token: a folder in that of the logs.
  """

  def __init__(self, variables: Mapping[str, str], folder: str, token: str):
    self._variables, self._folder, self._token = variables, folder, token

  def look(self) -> tuple[str, str]:
    """The node that this is on, and why runs cannot be made there; empty where they can."""
    node = ray.get_runtime_context().get_node_id()
    place = pathlib.Path(self._token).parent
    if not (os.path.exists(self._token) and os.access(place, os.W_OK)):
      complaint = f'{place.parent} cannot be seen, or not be written to'
    elif not os.path.isdir(self._folder):
      complaint = f'{self._folder} is not there, where the sweep was started'
    else:
      os.chdir(self._folder)
      return node, ''
    return node, f'{complaint}, on node {platform.node()}; all nodes must share that disk'

  def take(self, number: int, processors: int) -> None:
    """Makes the slot, of the cores of one of the node's shares."""
    cores = sorted(os.sched_getaffinity(0))
    own = [cores[n % len(cores)] for n in range(number * processors, (number + 1) * processors)]
    # When this actor is killed its run ends at once, so that it is over when it has another turn.
    self._slot = LocalSlot(self._variables, frozenset(own), at_death=signal.SIGKILL)

  def start(self, job: Job) -> None:
    self._slot.start(job)

  def code(self) -> Optional[tuple[int, Optional[str]]]:
    """The job's exit code, and `process` after it; None where it takes longer than a while."""
    deadline = time.monotonic() + _ANSWER_SECONDS
    while time.monotonic() < deadline:
      code = self._slot.code()
      if code is not None:
        return code, self._slot.process
      time.sleep(_LOOK_SECONDS)
    return None

  def ask_to_end(self) -> None:
    self._slot.ask_to_end()

  def wait(self, seconds: float) -> None:
    self._slot.wait(seconds)

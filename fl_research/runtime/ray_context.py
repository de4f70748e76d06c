"""The Ray runtime: the fused runtime, whose chunks of clients run on a Ray cluster.

This process keeps TFF, the server's steps and the merging of the chunks' accumulators; actors need
TensorFlow only. Chunks are those of the fused runtime, cut by the clients' sizes and merged in
their order, and each is the same function of the same bits: so results are those of the fused
runtime, on any number of actors, on machines whose processors have the same instructions.
"""

import atexit
import dataclasses
from typing import Any, Optional
import weakref

import tensorflow as tf

from fl_research.runtime import fused, ray_actors, ray_cluster, secure_sums

_cluster: Optional[ray_cluster.Cluster] = None
_actors: weakref.WeakValueDictionary[tuple, ray_actors.Actors] = weakref.WeakValueDictionary()
"""Those of this process, by what they differ in: to start one takes longer than many a round."""


def _connected(address: str, cores: int) -> ray_cluster.Cluster:
  """The cluster of this process, which has one at most."""
  global _cluster
  if _cluster is not None and _cluster.address != address:
    shutdown()
  if _cluster is None:
    _cluster = ray_cluster.Cluster(address, cores)
  return _cluster


def shutdown() -> None:
  """Leaves the cluster, and ends one that this process has started."""
  global _cluster
  cluster, _cluster = _cluster, None
  _actors.clear()
  if cluster is not None:
    cluster.close()


atexit.register(shutdown)


class RayContext(fused.FusedContext):
  """Runs TFF computations here, and their clients' work on a Ray cluster.

  Args:
    chunks: into how many chunks a cohort is cut.
    actors: how many compute them at the same time; None for as many as there is room for.
    address: of the cluster; empty to start one on this machine.
    cores: of this machine.
    summer: see `fused.FusedContext`.

  Raises:
    UsageError: Ray is not installed, there is no cluster at the address, or no room for an actor.
  """

  def __init__(
    self,
    chunks: int,
    actors: Optional[int],
    address: str,
    cores: int,
    summer: Optional[secure_sums.Summer] = None,
  ):
    super().__init__('ray', chunks, 1, summer=summer)
    cluster = _connected(address, actors or cores)
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    key = id(cluster), actors, threads
    self.workers: Any = _actors.get(key) or ray_actors.Actors(cluster, actors, threads)
    _actors[key] = self.workers
    self._before = dataclasses.asdict(self.workers.counts)

  def progress(self) -> str:
    """How many actors there are."""
    there, wanted = self.workers.size
    return f'{there} of {wanted} actors' if there < wanted else f'{there} actors'

  def report(self) -> dict:
    """What to write into a run's manifest."""
    counts = dataclasses.asdict(self.workers.counts)
    own = {name: count - self._before[name] for name, count in counts.items()}
    return {**super().report(), 'actors': self.workers.size[1], **own}

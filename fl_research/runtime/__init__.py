"""Where TFF computations run: `native`, TFF's own C++ runtime, `fused`, this process, or `ray`.

A runtime is a TFF execution context. After

    runtime.set_context('auto')

every `tff.tensorflow.computation` and `tff.federated_computation` called from the same thread runs
on it. `fused` and `auto` run whatever they can in this process and leave the rest to the native
one, with a line in the log that says why; `native` is TFF's own runtime for everything. `ray` is
`fused` with the clients' work on a cluster: it needs Ray, which `make ray` installs. `federation`
is `fused` for the server's part; that of the clients is done by sites that keep their data
(`fl_research.federation`).

Importing this package imports neither TensorFlow nor TFF.
"""

import contextlib
import os
from typing import Any, Optional

from fl_research import environment  # noqa: F401  before TensorFlow
from fl_research.runtime import memory
from fl_research.runtime.errors import ComputationError  # noqa: F401  raised by every runtime

NAMES = ('auto', 'fused', 'native', 'ray', 'federation')
"""The runtimes by name."""

JIT = ('off', 'on', 'auto')
"""Whether XLA compiles the clients' work: never, always, or where a timed trial says so."""

CHUNKS = 8
"""Into how many chunks a cohort is cut, if there are as many clients.

Sums over a chunk's clients are taken in their order, then those of the chunks in theirs. Rounding
depends on that, and so results do; on whoever runs the chunks, and on how many cores, they do not.
"""

_MOST_KERNEL_THREADS = 4

_chunks = CHUNKS
_elsewhere = False  # Whether other processes make the clients' values.
_warned = False


def kernel_threads(clients: int) -> int:
  """How many threads each TensorFlow kernel gets in rounds of so many clients.

  One, where the clients themselves keep the cores busy; more for one client or two. It is not a
  matter of the cores that there are, since kernels of convolutions round by it. On two cores four
  threads for the only client are 1.6 times as fast as one (McMahan et al.'s CNN), and as fast as
  two.
  """
  return max(1, _MOST_KERNEL_THREADS // max(1, clients))


def _create(
  name: str,
  chunks: Optional[int],
  jit: str,
  client_parallelism: Optional[int],
  threads: int,
  ray_address: str,
  summer: Any,
):
  global _chunks, _elsewhere
  if name not in NAMES:
    raise ValueError(f'Unknown runtime {name!r}; there are {", ".join(NAMES)}.')
  if jit not in JIT:
    raise ValueError(f'Unknown jit {jit!r}; there are {", ".join(JIT)}.')
  for what, value in (
    ('client_parallelism', client_parallelism),
    ('chunks', chunks),
    ('kernel_threads', threads),
  ):
    if value is not None and value < 1:
      raise ValueError(f'{what} must be at least 1, is {value}.')
  if name == 'native':
    if summer is not None:
      raise ValueError('summer: not with native, which takes secure sums in the clear')
    from fl_research.runtime import native

    return native.NativeContext()
  set_kernel_threads(threads)
  _chunks, _elsewhere = chunks or CHUNKS, name == 'ray'
  cores = len(os.sched_getaffinity(0))
  if name == 'ray':
    if jit != 'off':
      raise ValueError(f'jit={jit!r}: the actors of the Ray runtime run plain kernels.')
    from fl_research.runtime import ray_context

    return ray_context.RayContext(_chunks, client_parallelism, ray_address, cores, summer)
  from fl_research.runtime import fused

  return fused.FusedContext(name, _chunks, client_parallelism or cores, jit, summer)


def set_kernel_threads(threads: int) -> None:
  """Gives each kernel so many threads, which counts only before TensorFlow starts."""
  global _warned
  import tensorflow as tf

  if tf.config.threading.get_intra_op_parallelism_threads() == threads:
    return
  try:
    tf.config.threading.set_intra_op_parallelism_threads(threads)
  except RuntimeError:
    if not _warned:
      from absl import logging

      _warned = True
      logging.warning(
        'TensorFlow had started before the runtime was set, too late to give each of its kernels'
        ' %d threads: other last digits, and perhaps slower. Set the runtime first.',
        threads,
      )


def set_context(
  name: str = 'auto',
  chunks: Optional[int] = None,
  jit: str = 'off',
  client_parallelism: Optional[int] = None,
  kernel_threads: int = 1,
  ray_address: str = '',
  summer: Any = None,
):
  """Makes a runtime the default of TFF in this thread.

  Args:
    name: one of `NAMES`.
    chunks: into how many chunks a cohort is cut; None for `CHUNKS`. One adds clients up in the
      order of the native runtime.
    jit: one of `JIT`.
    client_parallelism: how many chunks run at the same time (with `ray`: how many actors); None for
      one per core. It changes no result.
    kernel_threads: how many threads each TensorFlow kernel gets, see the function of that name.
    ray_address: of the cluster that `ray` is to join, or 'auto'; empty to start one here.
    summer: who adds up the terms of secure sums, a `secure_sums.Summer`; None to add them up in the
      clear. Not with `native`.

  Only `name` matters to `native`.

  Returns:
    The context, whose `report()` gives what a run's manifest should hold.

  Raises:
    ValueError: an argument is none of those named.
    UsageError: `ray`, which is not installed, or whose cluster does not answer or has no room.
  """
  import tensorflow_federated as tff

  context = _create(name, chunks, jit, client_parallelism, kernel_threads, ray_address, summer)
  tff.framework.set_default_context(context)
  memory.trim()
  return context


@contextlib.contextmanager
def use_context(
  name: str = 'auto',
  chunks: Optional[int] = None,
  jit: str = 'off',
  client_parallelism: Optional[int] = None,
  kernel_threads: int = 1,
  ray_address: str = '',
  summer: Any = None,
):
  """`set_context` for the length of a `with` block; gives the context."""
  import tensorflow_federated as tff

  context = _create(name, chunks, jit, client_parallelism, kernel_threads, ray_address, summer)
  try:
    with tff.framework.get_context_stack().install(context):
      yield context
  finally:
    memory.trim()


def async_context(
  name: str = 'auto',
  chunks: Optional[int] = None,
  jit: str = 'off',
  client_parallelism: Optional[int] = None,
  kernel_threads: int = 1,
  ray_address: str = '',
  summer: Any = None,
):
  """A runtime for callers that await, as `tff.program.NativeFederatedContext` does.

      tff.program.NativeFederatedContext(runtime.async_context('fused'))

  Args and errors as for `set_context`; nothing is made the default. Its `context` is the runtime's.
  """
  from fl_research.runtime import awaited

  return awaited.AwaitedContext(
    _create(name, chunks, jit, client_parallelism, kernel_threads, ray_address, summer)
  )


def set_fused_execution_context():
  """Makes the fused runtime TFF's default, in one line; the same as `set_context('fused')`."""
  return set_context('fused')


def stack_clients(clients):
  """Prepares a cohort's values for its round ahead of time, in any thread.

  Args:
    clients: the list of clients' values, as given to the computation, or their description. Arrays
      that are parts of one array, as of a population in memory, are not copied: they must not
      change before the round.

  Returns:
    A list of the same values that also carries the arrays of the current runtime's chunks. Other
    runtimes take it as the plain list that it is. A description stays one where its values would
    take much memory, or are made in other processes: every runtime takes it as well.
  """
  from fl_research.runtime import chunks, described

  if isinstance(clients, described.DescribedClients):
    size = int(clients.bytes_of_clients().sum())
    if _elsewhere or size > chunks.WHOLE_BYTES:
      return clients

  return chunks.stack_clients(clients, _chunks)


def shutdown() -> None:
  """Ends TFF's worker process and the Ray that this process has started, if it has; at any time."""
  import sys

  for name in ('native', 'ray_context'):
    module = sys.modules.get(f'{__name__}.{name}')
    if module is not None:
      module.shutdown()


def stop_workers_on_exit() -> None:
  """Takes over TFF's own default runtime, so that its worker process ends when this one does.

  The runtimes of this package need no such call: however this process ends, their worker ends. A
  program that never sets one of them runs on the context that importing TFF sets, whose worker
  may outlive it; this puts `native` in its place. If one of them is set, it stays.
  """
  import tensorflow_federated as tff

  current = tff.framework.get_context_stack().current
  if not type(current).__module__.startswith(__name__):
    set_context('native')

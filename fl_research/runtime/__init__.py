"""Where TFF computations run: `native` (TFF's own C++ runtime), `fused` (this process) or `auto`.

A runtime is a TFF execution context. After

    runtime.set_context('auto')

every `tff.tensorflow.computation` and `tff.federated_computation` called from the same thread runs
on it. `fused` and `auto` run whatever they can in this process and leave the rest to the native
one, with a line in the log that says why; `native` is TFF's own runtime for everything.

Importing this package imports neither TensorFlow nor TFF.
"""

import contextlib
import os
from typing import Optional

from fl_research import environment  # noqa: F401  before TensorFlow
from fl_research.runtime import memory
from fl_research.runtime.errors import ComputationError  # noqa: F401  raised by every runtime

NAMES = ('auto', 'fused', 'native')
"""The runtimes by name."""

JIT = ('off', 'on', 'auto')
"""Whether XLA compiles the clients' work: never, always, or where a timed trial says so."""

THREADS = 4
"""How many threads the kernels of a round's only client share.

On two cores four are 1.6 times as fast as one (McMahan et al.'s CNN), and as fast as two.
"""

_parallelism: Optional[int] = None
_warned = False


def _create(
  name: str, client_parallelism: Optional[int], jit: str, clients_per_round: Optional[int] = None
):
  global _parallelism
  if name not in NAMES:
    raise ValueError(f'Unknown runtime {name!r}; there are {", ".join(NAMES)}.')
  if jit not in JIT:
    raise ValueError(f'Unknown jit {jit!r}; there are {", ".join(JIT)}.')
  if client_parallelism is not None and client_parallelism < 1:
    raise ValueError(f'client_parallelism must be at least 1, is {client_parallelism}.')
  chunks = client_parallelism or len(os.sched_getaffinity(0))
  if name == 'native':
    from fl_research.runtime import native

    return native.NativeContext()
  _limit_threads(kernel_threads(client_parallelism, clients_per_round))
  from fl_research.runtime import fused

  _parallelism = chunks
  return fused.FusedContext(name, chunks, jit)


def kernel_threads(client_parallelism: Optional[int], clients_per_round: Optional[int]) -> int:
  """How many threads TensorFlow's kernels share.

  Where it is said how many clients run at the same time, their kernels share the cores. Else there
  is one for each core, and kernels have a thread of their own, unless a round has less than
  `THREADS` clients. That must not depend on the machine: other threads, other last bits.
  """
  if client_parallelism:
    return max(1, len(os.sched_getaffinity(0)) // client_parallelism)
  return max(1, THREADS // clients_per_round) if clients_per_round else 1


def _limit_threads(threads: int) -> None:
  """Says how many threads kernels share, which counts only before TensorFlow starts."""
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
        'TensorFlow had started before the runtime was set, too late to give its kernels the %d'
        ' threads that are fastest here; last digits may differ. Set the runtime first.',
        threads,
      )


def set_context(
  name: str = 'auto',
  client_parallelism: Optional[int] = None,
  jit: str = 'off',
  clients_per_round: Optional[int] = None,
):
  """Makes a runtime the default of TFF in this thread.

  Args:
    name: one of `NAMES`.
    client_parallelism: chunks of clients that run at the same time; None for one per core. One
      chunk adds clients up in the order of the native runtime. Of no effect on `native`.
    jit: one of `JIT`. Of no effect on `native`.
    clients_per_round: how many take part in a round, where that is known; see `kernel_threads`.

  Returns:
    The context, whose `report()` gives what a run's manifest should hold.

  Raises:
    ValueError: an argument is none of those named.
  """
  import tensorflow_federated as tff

  context = _create(name, client_parallelism, jit, clients_per_round)
  tff.framework.set_default_context(context)
  memory.trim()
  return context


@contextlib.contextmanager
def use_context(name: str = 'auto', client_parallelism: Optional[int] = None, jit: str = 'off'):
  """`set_context` for the length of a `with` block; gives the context."""
  import tensorflow_federated as tff

  context = _create(name, client_parallelism, jit)
  try:
    with tff.framework.get_context_stack().install(context):
      yield context
  finally:
    memory.trim()


def async_context(name: str = 'auto', client_parallelism: Optional[int] = None, jit: str = 'off'):
  """A runtime for callers that await, as `tff.program.NativeFederatedContext` does.

      tff.program.NativeFederatedContext(runtime.async_context('fused'))

  Args and errors as for `set_context`; nothing is made the default. Its `context` is the runtime's.
  """
  from fl_research.runtime import awaited

  return awaited.AwaitedContext(_create(name, client_parallelism, jit))


def set_fused_execution_context():
  """Makes the fused runtime TFF's default, in one line; the same as `set_context('fused')`."""
  return set_context('fused')


def stack_clients(clients):
  """Prepares a cohort's values for its round ahead of time, in any thread.

  Args:
    clients: the list of clients' values, as given to the computation. Arrays that are parts of one
      array, as of a population in memory, are not copied: they must not change before the round.

  Returns:
    A list of the same values that also carries the arrays of the current runtime's chunks. Other
    runtimes take it as the plain list that it is.
  """
  from fl_research.runtime import chunks

  return chunks.stack_clients(clients, _parallelism or 1)


def shutdown() -> None:
  """Ends TFF's worker process, if this process has started one. May be called at any time."""
  import sys

  native = sys.modules.get('fl_research.runtime.native')
  if native is not None:
    native.shutdown()


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

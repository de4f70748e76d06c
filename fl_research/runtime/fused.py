"""The fused runtime: a TFF execution context that runs any TFF computation in this process.

A computation is compiled once to a `program.Program`, whose steps become TensorFlow functions. The
clients' step loops over the clients of a chunk with the aggregation folded in. The number of chunks
is given, who is in which depends on the clients' sizes, and the chunks' accumulators are merged in
their order: so the same inputs give the same bits, on any number of cores.

What runs here: local TensorFlow computations, computations at the server, and federated ones of
any number of parameters, aggregations (secure sums as plain ones, unless a `summer` adds them up),
broadcasts that depend on aggregates, `federated_select`, sequences, and values left at the clients.
What does not: functions as parameters, `sequence_map` and `sequence_reduce` outside TensorFlow,
external data. Those run on TFF's own runtime, and the log says so once with the reason. So `fused`
and `auto` are the same but in name. What neither runs: computations written in JAX, and
`sequence_sum`; they are refused.

How near to the native runtime: with one chunk clients are added up in the same order. But TFF's
worker is another build of TensorFlow, with other vector instructions on some processors, so that
what the two compute is the same to rounding, and the same bits only on some machines.

Chunks go to the visible GPUs in turn, where there are any. That has never been run: the machines at
hand had none.
"""

import collections
import dataclasses
import functools
from typing import Any, Optional
import weakref

from absl import logging
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import protocols, tff_private
from fl_research.runtime import (
  clear_sums,
  content,
  errors,
  expressions,
  invocation,
  native,
  python_values,
  secure_sums,
)

_CACHE_SIZE = 32
"""How many computations stay compiled, the last ones called, when the program has dropped them."""

protocols.remember()
tff_private.read_types_once()

_compiled_before: collections.OrderedDict[tuple[bytes, bool], Any] = collections.OrderedDict()
"""What any runtime of this process has compiled not long ago.

By content, and whether secure sums are kept."""


_contexts: weakref.WeakSet = weakref.WeakSet()
"""All that there are."""


def forget() -> None:
  """Has all that is built from now on be compiled anew, and drops what nobody has any more."""
  _compiled_before.clear()
  for context in _contexts:
    context.forget()


def _keep_newest(known: collections.OrderedDict, key: Any) -> None:
  known.move_to_end(key)
  if len(known) > _CACHE_SIZE:
    known.popitem(last=False)


def _forget(known: dict[int, tuple], key: int, _: weakref.ref) -> None:
  known.pop(key, None)


class FusedContext(tff.framework.SyncContext):
  """Runs TFF computations in this process; see the module's docstring.

  Attributes:
    workers: what computes the chunks of a cohort, as `invocation.Threads` does.
  """

  def __init__(
    self,
    name: str,
    chunks: int,
    client_parallelism: int,
    jit: str = 'off',
    summer: Optional[secure_sums.Summer] = None,
  ):
    """Prepares the runtime; nothing is compiled before the first call.

    Args:
      name: what `report` calls it.
      chunks: into how many chunks a cohort is cut.
      client_parallelism: how many of them run at the same time.
      jit: 'off', 'on' or 'auto'.
      summer: who adds up the terms of secure sums; None to add them up in the clear.
    """
    self.name = name
    self.summer = summer
    self.chunks = chunks
    self.client_parallelism = client_parallelism
    self.jit = jit
    self._native = native.NativeContext()
    self.workers: Any = invocation.Threads(client_parallelism)
    self._by_identity: dict[int, tuple[weakref.ref, Any]] = {}
    self._by_content: collections.OrderedDict[bytes, Any] = collections.OrderedDict()
    self._fallbacks: list[str] = []
    _contexts.add(self)

  def forget(self) -> None:
    """Drops what is compiled for computations that the program has dropped."""
    self._by_content.clear()

  def invoke(self, comp, arg):
    """Runs `comp` on `arg` and returns what TFF's own runtime would.

    Raises:
      ComputationError: the computation itself failed, or is one that neither runtime runs.
      TypeError, ValueError: the arguments do not fit the computation's type.
    """
    runnable = self.compiled(comp)
    if runnable is None:
      return self._native.invoke(comp, arg)
    result = runnable.run(arg, self.chunks, self.workers, self.summer)
    return python_values.in_containers(result, comp.type_signature.result)

  def compiled(self, comp):
    """What runs a computation; None where that is TFF's own runtime."""
    known = self._by_identity
    if id(comp) not in known:
      forget = functools.partial(_forget, known, id(comp))
      known[id(comp)] = weakref.ref(comp, forget), self._by_its_content(comp)
    return known[id(comp)][1]

  def _by_its_content(self, comp):
    """What runs a computation, or one of the same content that was called not long ago."""
    proto = tff.framework.ConcreteComputation.get_proto(comp)
    digest = content.digest(proto)
    if digest not in self._by_content:
      self._by_content[digest] = self._compiled_once(comp, proto, digest)
    _keep_newest(self._by_content, digest)
    return self._by_content[digest]

  def _compiled_once(self, comp, proto, digest: bytes):
    """Compiles what no runtime of this process has, as where an experiment is run again."""
    if self.jit != 'off':  # What XLA is for, each runtime finds for itself.
      return self._compile(comp, proto)
    key = digest, self.summer is not None
    known = _compiled_before.get(key) or self._compile(comp, proto)
    if known is not None:
      _compiled_before[key] = known
      _keep_newest(_compiled_before, key)
    return known

  def _compile(self, comp, proto):
    try:
      if proto.WhichOneof('computation') == 'tensorflow':
        return invocation.Local(proto, comp.type_signature)
      if proto.WhichOneof('computation') == 'xla':
        raise expressions.NotRunnable(expressions.JAX)
      return invocation.Federated(comp, self.jit, self.summer is not None)
    except expressions.NotRunnable as reason:
      signature = comp.type_signature.compact_representation()
      raise errors.ComputationError(f'{signature}: {reason}') from reason
    except (expressions.NotReducible, NotImplementedError) as reason:
      message = f'{comp.type_signature.compact_representation()}: {reason}'
      if self.summer is not None and clear_sums.are_in(proto):
        raise errors.ComputationError(f'its secure sums cannot be kept: {message}') from reason
      if message not in self._fallbacks:
        self._fallbacks.append(message)
        logging.warning("Runs on TFF's own runtime, not the fused one: %s.", message)
      return None

  def progress(self) -> str:
    """Who is at work, in words for whoever is watching; nothing where it is this process."""
    return ''

  def report(self) -> dict:
    """What to write into a run's manifest."""
    known = [*self._by_content.values(), *(runnable for _, runnable in self._by_identity.values())]
    runnables = dict.fromkeys(runnable for runnable in known if runnable is not None)
    client_steps = [step for known in runnables for step in known.client_steps]
    return {
      'runtime': self.name,
      'fallbacks': list(self._fallbacks),
      'chunks': self.chunks,
      'kernel_threads': tf.config.threading.get_intra_op_parallelism_threads(),
      'jit': self.jit,
      'jit_choices': [dataclasses.asdict(s.choice) for s in client_steps if s.choice],
      'compilations': sum(step.compilations for step in client_steps),
    }

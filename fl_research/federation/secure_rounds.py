"""The server's half of a round whose updates no site shows: the engine's part.

`apply` of `fl_research.round.split` is run by the fused runtime as ever, but the step at the
clients, which decodes messages and makes the terms of the secure sums of them, is computed by the
sites, on what their clients have sent to nobody else. Each site adds up its own clients' terms, and
the sites' sums are added up by the protocol of `fl_research.secure_aggregation`, sites being its
clients and the engine its server. So the engine sees masked vectors, their sum, and what is added
up in the clear: how many clients take part, and their reports.

Where sites do not sign, parties are honest but curious: their keys come through the engine, which
could pretend to be other sites, if it deviates from the protocol. Where the policies of all have
the keys of all (`fl_research.federation.signer`), sessions are signed, and such an engine is
refused.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import functools
import math
import time
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.federation import engine as engine_lib
from fl_research.federation import session_server
from fl_research.federation.client_graph import ClientGraph, HELD, Input, SERVER
from fl_research.federation.run_at_sites import RunAtSites
from fl_research.registry import UsageError
from fl_research.round import split
from fl_research.runtime import chunk_runs, fused, graph_functions, invocation, server_steps
from fl_research.secure_aggregation import errors, parameters, thresholds

_ALL = 4096  # More chunks than there are sites.


def threshold(sites: int, least: int, is_signed: bool) -> int:
  """How many of so many sites must come to the end of a session.

  Args:
    sites: that take part.
    least: the least that the experimenter wants in a sum.
    is_signed: whether the session is signed: then more than two thirds, since otherwise an engine
      could tell two halves two stories of who is left.

  Raises:
    UsageError: there are too few sites for the protocol.
  """
  try:
    most = 2 * sites // 3 + 1 if is_signed else 0
    return max(thresholds.plan(sites).threshold, min(least, sites), most)
  except ValueError as error:
    raise UsageError(
      f'--secure_aggregation=protocol: {sites} sites take part in a round; needed are '
      f'{parameters.LEAST_CLIENTS}: there must be as many, and --clients_per_round large enough'
    ) from error


class SecureRounds:
  """`apply` with its clients at sites.

  Args:
    process: the method, in two halves, whose sums are secure ones.
    say: is told when a session has to be held again.

  Attributes:
    graph: what sites run on what they hold.
  """

  def __init__(self, process: split.SplitProcess, say: Callable[[str], None]):
    self._process, self._say = process, say
    self._context = fused.FusedContext('federation', _ALL, 1, summer=self._sum)
    self._work = self._only_step(self._context.compiled(process.apply))
    self.graph = self._graph()
    self._total = np.zeros(0, np.uint64)

  def _only_step(self, runnable: Any) -> invocation.ClientWork:
    steps = runnable.client_steps if runnable is not None else []
    if len(steps) != 1 or not steps[0].step.secure_sums:
      raise UsageError(
        '--secure_aggregation=protocol: not with --runtime=federation and this --algorithm or '
        '--aggregator, which ask clients more than once for one step of the server'
      )
    return steps[0]

  def _graph(self) -> ClientGraph:
    loop = self._work.loop
    state, *at_clients = [key for key, _ in loop.program.parameters]
    del state
    inputs = []
    for key in loop.inputs:
      kind = server_steps.member_of(loop.program.types[key])
      specs = tuple(graph_functions.leaf_spec(leaf) for leaf in graph_functions.leaf_types(kind))
      origin = HELD[at_clients.index(key)] if key in at_clients else SERVER
      inputs.append(Input(origin, ('',) * len(specs), specs))
    clear = self._clear
    sums = self._work.step.secure_sums
    bounds = [bound.largest for secure in sums for bound in secure.bounds]
    return ClientGraph(
      'combine', self._work.exported, tuple(inputs), tuple(range(clear)), largest=tuple(bounds)
    )

  @property
  def _clear(self) -> int:
    """How many of the graph's results are not terms of secure sums."""
    loop = self._work.loop
    outputs = sum(len(shape.specs) for shape in loop.output_shapes)
    return loop.signature.leaves + sum(len(c.specs) for c in loop.collectors) - outputs

  @property
  def size(self) -> int:
    """How many numbers a client's terms are."""
    keys = [secure.terms_key for secure in self._work.step.secure_sums]
    shapes = [server_steps.shape_of(self._work.loop.program, key) for key in keys]
    return sum(math.prod(spec.shape) for shape in shapes for spec in shape.leaf_specs)

  def bits(self, clients: int) -> int:
    """b, such that no sum of so many clients' terms wraps around modulo 2^b."""
    return max(1, (clients * max(self.graph.largest)).bit_length())

  def apply(
    self, state: Any, round_num: int, clients: Mapping[str, np.ndarray], run: RunAtSites
  ) -> tuple[Any, Any]:
    """The server's step: the new S, and M.

    Args:
      state: S.
      round_num: the round.
      clients: of each site that has trained, whose results it holds.
      run: asks the sites.

    Raises:
      UsageError: there are too few sites for the protocol.
    """
    names = sorted(clients)
    self._context.workers = _AtSites(self, names, clients, round_num, run)
    placeholders = [_zeros(self._process) for _ in names]
    with tff.framework.get_context_stack().install(self._context):
      return self._process.apply(state, placeholders, [np.float32(1)] * len(names))

  def _sum(self, vectors: Mapping[int, np.ndarray], size: int, bits: int) -> np.ndarray:
    """The sum that the last session has come to."""
    del vectors, bits
    assert self._total.shape == (size,)
    return self._total

  def session(
    self,
    names: Sequence[str],
    clients: Mapping[str, np.ndarray],
    known: Sequence[np.ndarray],
    round_num: int,
    run: RunAtSites,
  ) -> dict[str, list[np.ndarray]]:
    """Has the sites' terms added up; gives what each site of the sum says in the clear.

    A session that too few sites come to the end of tells nothing, and is held again.
    """
    attempt = 0
    while True:
      try:
        return self._session(names, clients, known, round_num, run, attempt)
      except errors.Aborted as error:
        attempt += 1
        self._say(f'round {round_num}: secure aggregation aborted ({error}); once more')
        time.sleep(engine_lib.PATIENCE)

  def _session(self, names, clients, known, round_num, run, attempt) -> dict:
    total = sum(len(own) for own in clients.values())
    least = threshold(len(names), run.least_sites, run.signed)
    sites = list(names) if run.signed else []
    facts = {'bits': self.bits(total), 'threshold': least, 'attempt': attempt, 'sites': sites}
    own = {name: number for number, name in enumerate(names)}
    said = run.combine(round_num, known, own, facts)
    numbers = {own[name]: name for name in said}
    shared = parameters.Parameters(
      parameters.session_of(f'{run.name}/{attempt}'),
      round_num,
      self.size,
      facts['bits'],
      least,
      signed=run.signed,
    )
    session = session_server.hold(shared, numbers, functools.partial(run.session_step, round_num))
    self._total = session.sum()
    return {numbers[number]: said[numbers[number]] for number in sorted(session.survivors)}


class _AtSites:
  """What computes the chunks of `apply`, each a site (see `invocation.Threads`)."""

  def __init__(self, rounds: SecureRounds, names, clients, round_num: int, run: RunAtSites):
    self._rounds, self._names, self._clients = rounds, names, clients
    self._round_num, self._run = round_num, run

  def results(self, work: invocation.ClientWork, call: Any) -> Iterator[chunk_runs.ChunkResults]:
    """What each site says in the clear; of those that fell silent, nothing."""
    loop = work.loop
    sent = [key for key in loop.inputs if key in call.tensors]
    known = [np.asarray(tensor) for key in sent for tensor in call.tensors[key]]
    said = self._rounds.session(self._names, self._clients, known, self._round_num, self._run)
    folded = loop.signature.leaves
    joined_specs = [spec for c in loop.collectors for spec in c.specs]
    terms = [spec for shape in loop.output_shapes for spec in shape.specs]
    joined_specs = joined_specs[: len(joined_specs) - len(terms)]
    nothing = [tf.zeros([1, *spec.shape[1:]], spec.dtype) for spec in terms]
    for name in self._names:
      if name in said:
        own = [tf.constant(array) for array in said[name]]
      else:
        zeros = [leaf for key, _ in loop.signature.zeros for leaf in call.tensors[key]]
        own = [*zeros, *(tf.zeros([0, *spec.shape[1:]], spec.dtype) for spec in joined_specs)]
      yield chunk_runs.ChunkResults(own[:folded], [[*own[folded:], *nothing]])


def _zeros(process: split.SplitProcess) -> Any:
  """An R of nothing, of the right types."""
  result, _ = process.sent_type

  def of(leaf: tff.TensorType) -> np.ndarray:
    return np.zeros([size or 0 for size in leaf.shape], leaf.dtype)

  return tff.types.structure_from_tensor_type_tree(of, result)

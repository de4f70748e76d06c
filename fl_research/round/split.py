"""A round in two halves, for whoever lets time pass between them: what clients do, what arrives.

    work:  (S@SERVER, {D}@CLIENTS, …) -> <{R}@CLIENTS, {T}@CLIENTS>
    apply: (S@SERVER, {R}@CLIENTS, {float32}@CLIENTS) -> <S, M>@SERVER

They are the same exchange that `next` of `fl_research.round.composition` is made of, cut where a
message arrives. R is what a client has sent,

    R = <client=int32, num_examples=int32, batches=int32[?,1], message, auxiliary, weight=float32,
         finite=bool, facts, origin>,

T its new state, to be kept once R has been applied; the third argument of `work` is {T}@CLIENTS
where clients keep a state. `apply` takes any number of results, of clients that may have worked
from different states of the server, and a factor for each, by which its update is multiplied before
all are combined: one that stands for how stale it is. Weights are left as they are, so that, with a
mean, the server goes

    x = x + η Σ_k p_k s_k Δ_k,      p_k = w_k / Σ_j w_j.

With the results of one state of the server, factors of 1, and an order of clients that is theirs in
`next`, the state and M are those of `next`, bit for bit: `batches` is there so that runtimes that
share clients out by their number of batches share them out alike.

A split that *mixes* has in `origin` the weights x_τ that the client began with, and takes for Δ_k
what leads from the present model x to the client's,

    Δ_k = (x_τ + Δ_k) - x,      computed as Δ_k + (x_τ - x),

so that a client that began from x itself counts as without mixing, bit for bit. Else it is empty.

Numbers that a method sends besides its update (`Reply.auxiliary`) are averaged as they are: no
factor reduces them.
"""

import collections
from collections.abc import Sequence
import dataclasses
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import client_data, registry
from fl_research.round import composition
from fl_research.round.parts import Parts
from fl_research.round.process import ClientStates, FederatedProcess, RoundResult

_BYTES_OF_FLOAT = 4


class Sent(NamedTuple):
  """What one client has done, on its way to the server.

  Attributes:
    result: R.
    state: T as it will be once R has been applied.
  """

  result: Any
  state: Any


@dataclasses.dataclass(frozen=True)
class SplitProcess(FederatedProcess):
  """A federated process whose clients' work and whose server's step can be had one by one.

  Attributes:
    work, apply: see the module's docstring.
    sent_type: <R, T>.
  """

  work: tff.Computation = dataclasses.field(kw_only=True)
  apply: tff.Computation = dataclasses.field(kw_only=True)
  sent_type: tff.StructType = dataclasses.field(kw_only=True)

  @property
  def sent_bytes_per_client(self) -> Optional[int]:
    """What a client sends, in bytes; None where its values decide, by how they are compressed."""
    if self.parts.compressor is not None:
      return None
    return self.parts.sums.num_bytes(self.bytes_up_per_client // _BYTES_OF_FLOAT)

  def run_work(
    self, state: Any, cohort: Sequence[Any], client_states: Optional[ClientStates] = None
  ) -> list[Sent]:
    """What each client of a cohort sends, trained from a state of the server.

    Args:
      state: S.
      cohort: the D of each client.
      client_states: where their T are read; nothing is written.
    """
    if not self.keeps_client_state:
      return [Sent(*each) for each in zip(*self.work(state, cohort))]
    states: Sequence[Any] = [self.initial_client_state] * len(cohort)
    if client_states is not None:
      states = client_states.get(client_data.positions(cohort))
    return [Sent(*each) for each in zip(*self.work(state, cohort, states))]

  def run_apply(
    self,
    state: Any,
    results: Sequence[Any],
    factors: Sequence[float] | np.ndarray,
    new_states: Sequence[Any] = (),
    client_states: Optional[ClientStates] = None,
  ) -> RoundResult:
    """The server's step with what has arrived.

    Args:
      state: S.
      results: the R of each client, none of whom is among them twice.
      factors: what their updates are multiplied by.
      new_states: the T of each.
      client_states: where those are written, of the clients whose update is finite.
    """
    state, measured = self.apply(state, results, [np.float32(factor) for factor in factors])
    if client_states is not None:
      self._keep(
        measured, dict(zip((int(r['client']) for r in results), new_states)), client_states
      )
    return RoundResult(state, measured, None)

  def _keep(self, measured: Any, by_client: dict[int, Any], client_states: ClientStates) -> None:
    finite = np.asarray(measured['report']['values'])[:, self.report_columns.index('finite')] > 0
    kept = [int(client) for client in np.asarray(measured['report']['client'])[finite]]
    if kept:
      stacked = tf.nest.map_structure(lambda *rows: np.stack(rows), *(by_client[k] for k in kept))
      client_states.put(kept, stacked)

  def empty_sent(self) -> Sent:
    """A `Sent` of zeros where tensors are, whose structure is that of all."""
    zeros = tff.types.structure_from_tensor_type_tree(lambda _: 0, self.sent_type)
    return Sent(*zeros)


def build_process(parts: Parts, mixes: bool = False) -> SplitProcess:
  """Composes a method with its parts, in two halves.

  Args:
    parts: what the round is made of.
    mixes: whether the present model is mixed with clients' models, see the module's docstring.

  Raises:
    UsageError: see `composition.build_process`; or the method needs more than one exchange, or has
      updates that are not shaped as its weights and so cannot be mixed.
  """
  whole = composition.Composition(parts)
  if len(whole.trips) > 1:
    raise registry.UsageError(
      '--algorithm: a round of this method is more than one trip to the clients, who must all be '
      'there at once; accepted are --aggregation_trigger=cohort, a --runtime that simulates '
      'them, and a --cohort_sampling that decides before clients train'
    )
  return _Split(whole, mixes).process()


class _Split:
  """Cuts a round in two."""

  def __init__(self, whole: composition.Composition, mixes: bool):
    self._whole = whole
    [self._trip] = whole.trips
    self._mixes = mixes
    self._origin = tff.tensorflow.computation(
      lambda server: list(tf.nest.flatten(server['weights'])) if mixes else [], whole.server_type
    )
    if mixes:
      self._check_mixable()

  def _check_mixable(self) -> None:
    update = [list(shape) for shape in self._trip.half.shapes]
    weights = [
      spec.shape.as_list() for spec in tff.types.type_to_tf_tensor_specs(self._origin_type)
    ]
    if update != weights:
      raise registry.UsageError(
        '--stale_update=model: needs an --algorithm whose clients train the whole global model; '
        'accepted is delta'
      )

  @property
  def _origin_type(self) -> tff.Type:
    return self._origin.type_signature.result

  def process(self) -> SplitProcess:
    process = self._whole.process()
    work = self._work(process.start.type_signature.result)
    result, state = work.type_signature.result
    return SplitProcess(
      **{field.name: getattr(process, field.name) for field in dataclasses.fields(process)},
      work=work,
      apply=self._apply(process.start.type_signature.result, result),
      sent_type=tff.StructType([result.member, state.member]),
    )

  def _work(self, state_type: tff.Type) -> tff.Computation:
    whole, at_clients = self._whole, lambda member: tff.FederatedType(member, tff.CLIENTS)
    result = tff.tensorflow.computation(
      _result,
      [whole.data_type, self._trip.work.type_signature.result, self._origin_type],
    )
    state_of = tff.tensorflow.computation(
      lambda reply: reply['state'], self._trip.work.type_signature.result
    )
    given = collections.OrderedDict(state=state_type, data=at_clients(whole.data_type))
    if whole.keeps:
      given['client_states'] = at_clients(whole.client_type)

    @tff.federated_computation(tff.to_type(given))
    def work(given):
      server, data = given.state['server'], given.data
      states = given.client_states if whole.keeps else whole.nothing_kept()
      _, reply = whole.ask(0, server, data, states)
      origin = tff.federated_broadcast(tff.federated_map(self._origin, server))
      # The state apart, so that what keeps it need not send it.
      state = tff.federated_map(state_of, reply)
      return tff.federated_map(result, (data, reply, origin)), state

    return work

  def _apply(self, state_type: tff.Type, results: tff.Type) -> tff.Computation:
    whole, trip = self._whole, self._trip
    arrived_type = trip.arrive.type_signature.result
    scale = tff.tensorflow.computation(
      _scaled, [arrived_type, np.float32, self._origin_type, self._origin_type]
    )

    @tff.federated_computation(
      state_type, results, tff.FederatedType(tff.TensorType(np.float32), tff.CLIENTS)
    )
    def apply(state, results, factors):
      server = state['server']
      arrived = tff.federated_map(
        trip.arrive, (results['message'], results['weight'], results['finite'])
      )
      present = tff.federated_broadcast(tff.federated_map(self._origin, server))
      arrived = tff.federated_map(scale, (arrived, factors, results['origin'], present))
      further = whole.reference(trip, tff.federated_map(trip.broadcast, server))
      step = whole.combine(
        0, state, server, arrived, results['auxiliary'], results['client'], further
      )
      facts = (collections.OrderedDict(weight=arrived['weight'], finite=arrived['finite']),)
      report = tff.federated_map(
        whole.report(results.type_signature.member),
        tff.federated_zip((results, facts, (results['facts'],))),
      )
      return whole.outcome([step], report)

    return apply


def _result(data: Any, reply: Any, origin: Any) -> collections.OrderedDict:
  """R, from what a client has and what it did."""
  names = ('message', 'auxiliary', 'weight', 'finite', 'facts')
  return collections.OrderedDict(
    client=data['client'],
    num_examples=data['num_examples'],
    batches=data['batches'][:, :1],
    **{name: reply[name] for name in names},
    origin=list(origin),
  )


def _scaled(arrived: Any, factor: Any, origin: Any, present: Any) -> collections.OrderedDict:
  """What has arrived, with its update as it counts now."""
  update = list(arrived['update'])
  if len(origin):
    update = [u + (x - now) for u, x, now in zip(update, origin, present, strict=True)]
  return collections.OrderedDict(arrived, update=[factor * u for u in update])

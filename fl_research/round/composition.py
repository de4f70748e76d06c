"""From a method to TFF computations: a whole round in one.

    start: (W@SERVER -> S@SERVER)
    next:  (<S@SERVER, {D}@CLIENTS> -> <S@SERVER, M@SERVER>)

with W the model's weights (an argument: as constants of graphs they would be in memory many times,
and could not be larger than a graph may be), and D the client's data (see
`fl_research.client_data`). Where clients keep a state T = <method=…, compressor=<…>> from round to
round it is an argument of its own, so that cohorts can be stacked ahead of their round whatever the
states will be,

    next:  (<S@SERVER, {D}@CLIENTS, {T}@CLIENTS>
            -> <S, M, <client=int32[?], state=T[?]>>@SERVER),

and the new states come back stacked, for the training loop to store by client. Where a combiner
needs what no seed may give back, `next` has a last argument, the round's draw, at the server.

S = <server=<weights, method, optimizer, round_num=int32>, aggregator>.
M = <participants=float32, report=<client=int32[?], values=float64[?,k]>, aggregation=…, method=…>:
one row of `report` for each client, in the runtime's order, its k columns named by
`FederatedProcess.report_columns`.

All exchanges of a round are in one `next`, the broadcasts of the later ones depending on what the
earlier ones brought: TFF's native runtime and the fused one take that (its MapReduceForm, which
takes one broadcast, is not used), a round stays one transaction, and the training loop need not
know how many trips a method makes. Drivers of single exchanges use `ClientHalf` and `ServerHalf`.
"""

import collections
from collections.abc import Callable, Sequence
import functools
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import registry
from fl_research.aggregation import combiner as combiner_lib
from fl_research.aggregation import stacking
from fl_research.round import client_half, handed_back, server_half, types
from fl_research.round import combining as combining_lib
from fl_research.round import method as method_lib
from fl_research.round.parts import Parts
from fl_research.round.process import FederatedProcess, scalar_names
from fl_research.round.structures import choose


def build_process(parts: Parts) -> FederatedProcess:
  """Composes a method with its parts.

  A client whose update or new state holds an infinity or a NaN is left out: it counts with weight
  zero, sends zeros, keeps its old state, and its report says `finite` = 0. When no client
  is left the server's state stays as it was, but for the round number; under a combiner that is
  private it steps all the same.

  Raises:
    UsageError: the method's or the compressor's hyperparameters do not fit the model, or the attack
      or the method does not fit the aggregator.
    ValueError: the method needs the size of the population and `parts` does not give it.
  """
  return Composition(parts).process()


class Trip(NamedTuple):
  """One exchange with all that is put around it.

  Attributes:
    exchange: what the method says.
    combiner: what encodes and combines.
    half: what a client does.
    broadcast, work, arrive, finish: its computations.
    combining: the aggregation of what has arrived.
    draw: what it is given of chance; None for most.
    mean_auxiliary: (auxiliary, <weight, finite, …>) at the clients -> the mean.
    bytes_down, bytes_up: uncompressed size of what a client receives and sends.
  """

  exchange: method_lib.Exchange
  combiner: combiner_lib.Combiner
  half: client_half.ClientHalf
  broadcast: tff.Computation
  work: tff.Computation
  arrive: tff.Computation
  finish: tff.Computation
  combining: combiner_lib.Combining
  draw: Optional[combiner_lib.Draw]
  mean_auxiliary: Callable[[tff.Value, tff.Value], tff.Value]
  bytes_down: int
  bytes_up: int


class Step(NamedTuple):
  """What the server makes of one exchange.

  Attributes:
    server: its part of S.
    aggregator: the combiner's.
    measurements: what the combiner measures.
    participants: how many clients' updates were used.
  """

  server: tff.Value
  aggregator: tff.Value
  measurements: tff.Value
  participants: tff.Value


def refusal_of_privacy(trips: Sequence[Trip]) -> str:
  """Why a round of these exchanges cannot be differentially private; empty where it can."""
  if not all(trip.half.shapes for trip in trips):
    return 'differential privacy needs a method that shares weights; this one shares none'
  more = any(types.num_bytes(t.work.type_signature.result['auxiliary']) for t in trips)
  if more or len(trips) > 1:
    return (
      'clients of this method send more than their update, which the clipping and the noise of '
      'differential privacy would not cover; accepted are methods that send updates only'
    )
  if any(trip.half.weighs_itself for trip in trips):
    return (
      'clients of this method say themselves what their updates count, and under differential '
      'privacy all count the same; accepted are methods that leave it open'
    )
  return ''


class Composition:
  """Puts one process together.

  Attributes:
    parts: what it is made of.
    trips: its exchanges.
    data_type, client_type, server_type: D, T, and the server's part of S.
    keeps: whether clients keep a state.
  """

  def __init__(self, parts: Parts):
    self.parts = parts
    self._method = parts.method.bind(parts.federation())
    self._server = server_half.ServerHalf(parts, self._method)
    self._exchanges = self._method.exchanges
    self._combiners = [combining_lib.combiner_of(parts, exchange) for exchange in self._exchanges]
    self.data_type = types.client_data_type(parts.model, parts.batch_size)
    self._weights = parts.model.initial_weights[0]
    self._weights_type = tff.to_type(tuple(tff.TensorType(w.dtype, w.shape) for w in self._weights))
    self._initial_server = tff.tensorflow.computation(self._server_state, self._weights_type)
    self.server_type = self._initial_server.type_signature.result
    initial_client = tff.tensorflow.computation(self._client_state, self._weights_type)
    self.client_type = initial_client.type_signature.result
    self._new_client = initial_client(self._weights)
    self.trips = [self._trip(number) for number in range(len(self._exchanges))]
    self.keeps = bool(tf.nest.flatten(tff.types.type_to_tf_tensor_specs(self.client_type)))
    self._check_private()

  def _server_state(self, weights: method_lib.Weights) -> collections.OrderedDict:
    """The server's part of S before round 1."""
    method = self.parts.method.bind(self.parts.federation(tuple(weights)))
    return server_half.ServerHalf(self.parts, method).initial()

  def _client_state(self, weights: method_lib.Weights) -> collections.OrderedDict:
    """T of a client that has never taken part."""
    return collections.OrderedDict(
      method=handed_back.check_client_state(self._method, tuple(weights)),
      compressor=tuple(self._memory(number) for number in range(len(self._exchanges))),
    )

  def _memory(self, number: int) -> Any:
    """What a client remembers of an exchange's messages before it has sent any."""
    encoder = self._combiners[number].encoder
    if not encoder.keeps_client_state:
      return ()
    specs = self._update_specs(number)
    return encoder.initial_client_state(tuple(tf.zeros(s.shape, s.dtype) for s in specs))

  def _update_specs(self, number: int) -> list[tf.TensorSpec]:
    """The tensors of an exchange's update, which only its work can tell."""
    half = self._client_half(number)
    state = tff.tensorflow.computation(
      lambda weights: self._method.initial_client_state(tuple(weights)), self._weights_type
    )
    update = tff.tensorflow.computation(
      half.update_of,
      [
        self._broadcast(number).type_signature.result,
        self.data_type,
        state.type_signature.result,
      ],
    )
    return tf.nest.flatten(tff.types.type_to_tf_tensor_specs(update.type_signature.result))

  def _client_half(self, number: int) -> client_half.ClientHalf:
    exchange, encoder = self._exchanges[number], self._combiners[number].encoder
    return client_half.ClientHalf(self.parts, self._method, exchange, encoder, number)

  def _broadcast(self, number: int) -> tff.Computation:
    return tff.tensorflow.computation(
      functools.partial(self._server.broadcast, self._exchanges[number]), self.server_type
    )

  def _trip(self, number: int) -> Trip:
    exchange, combiner = self._exchanges[number], self._combiners[number]
    half = self._client_half(number)
    broadcast = self._broadcast(number)
    work = tff.tensorflow.computation(
      half.work, [broadcast.type_signature.result, self.data_type, self.client_type]
    )
    reply = work.type_signature.result
    arrive = tff.tensorflow.computation(
      functools.partial(server_half.arrive, combiner.encoder, half.shapes),
      [reply['message'], np.float32, np.bool_],
    )
    update_type = arrive.type_signature.result['update']
    combined_by = combining_lib.combining_of(self.parts, combiner, update_type)

    def finish(server, update, auxiliary, participants):
      pack = lambda update: tf.nest.pack_sequence_as(half.update, tf.nest.flatten(update))
      update = combiner.hand_over(update, pack)
      combined = method_lib.Combined(update, auxiliary, participants)
      is_last = number == len(self._exchanges) - 1
      return self._server.finish(exchange, combiner, server, combined, is_last=is_last)

    up = types.num_bytes(update_type) + types.num_bytes(reply['auxiliary'])
    down = half.bytes_received
    return Trip(
      exchange,
      combiner,
      half,
      broadcast,
      work,
      arrive,
      tff.tensorflow.computation(
        finish,
        [self.server_type, combiner.combined_type(update_type), reply['auxiliary'], np.float32],
      ),
      combined_by,
      combiner.draw(update_type),
      combining_lib.mean_auxiliary_of(self.parts, exchange, reply['auxiliary']),
      bytes_down=down + 4 if down else 0,  # The rate's factor goes along.
      bytes_up=up + 4 if up else 0,  # The weight goes along.
    )

  def _check_private(self) -> None:
    """Under a private combiner, or noise of its own, nothing but one update may leave a client."""
    is_local = self.parts.local_noise is not None
    if not is_local and all(t.combiner.kind != combiner_lib.PRIVATE for t in self.trips):
      return
    reason = refusal_of_privacy(self.trips)
    if reason:
      raise registry.UsageError(f'--algorithm: {reason}')

  def process(self) -> FederatedProcess:
    """The whole of it."""
    start = self._start()
    at_clients = functools.partial(tff.FederatedType, placement=tff.CLIENTS)
    given = collections.OrderedDict(
      state=start.type_signature.result, data=at_clients(self.data_type)
    )
    if self.keeps:
      given['client_states'] = at_clients(self.client_type)
    draw = combining_lib.draw_of_all([trip.draw for trip in self.trips])
    if draw is not None:
      given['drawn'] = tff.FederatedType(draw.type, tff.SERVER)

    @tff.federated_computation(tff.to_type(given))
    def next_round(given):
      states = given.client_states if self.keeps else self.nothing_kept()
      drawn = given.drawn if draw is not None else None
      state, measured, last = self._round(given.state, given.data, states, drawn)
      if not self.keeps:
        return state, measured
      kept = tff.federated_map(self._keep(), (last, states))
      return state, measured, stacking.stack_at_server(kept)

    measured_type = next_round.type_signature.result[1].member
    reported = [name for trip in self.trips for name in trip.half.measure_names]
    return FederatedProcess(
      start=start,
      next=next_round,
      client_data_type=self.data_type,
      report_columns=client_half.report_columns(self.parts, tuple(reported)),
      client_state_type=self.client_type,
      initial_client_state=self._new_client if self.keeps else None,
      draw=draw.sample if draw is not None else None,
      parts=self.parts,
      method=self._method,
      aggregation_columns=scalar_names(measured_type['aggregation']),
      method_columns=(*reported, *scalar_names(measured_type['method'])),
      bytes_down_per_client=sum(trip.bytes_down for trip in self.trips),
      bytes_up_per_client=sum(trip.bytes_up for trip in self.trips),
    )

  def nothing_kept(self) -> tff.Value:
    """{T}@CLIENTS where clients keep nothing."""
    return tff.federated_value(self._new_client, tff.CLIENTS)

  def _start(self) -> tff.Computation:
    """(W@SERVER -> S@SERVER)"""

    @tff.federated_computation(tff.FederatedType(self._weights_type, tff.SERVER))
    def start(weights):
      server = tff.federated_map(self._initial_server, weights)
      states = tuple(trip.combining.initialize() for trip in self.trips)
      return tff.federated_zip(collections.OrderedDict(server=server, aggregator=states))

    return start

  def _round(
    self,
    state: tff.Value,
    data: tff.Value,
    client_states: tff.Value,
    drawn: Any,
  ):
    """The body of `next`: the new S, M, and <client, finite, state> of every client."""
    server, steps = state['server'], []
    arrivals: list[Any] = []
    facts = []
    for number, trip in enumerate(self.trips):
      broadcast, reply = self.ask(number, server, data, client_states)
      finite = reply['finite']
      if arrivals:
        # Who was left out of an exchange is left out of those that build on it.
        finite = tff.federated_map(_both, (finite, arrivals[-1]['finite']))
      arrived = tff.federated_map(trip.arrive, (reply['message'], reply['weight'], finite))
      further = drawn[number] if trip.draw else self.reference(trip, broadcast)
      step = self.combine(
        number, state, server, arrived, reply['auxiliary'], data['client'], further
      )
      server = step.server
      steps.append(step)
      client_states = reply['state']
      arrivals.append(collections.OrderedDict(weight=arrived['weight'], finite=arrived['finite']))
      facts.append(reply['facts'])
    report = tff.federated_map(
      self.report(self.data_type), _zip(data, tuple(arrivals), tuple(facts))
    )
    last = collections.OrderedDict(
      client=data['client'], finite=arrivals[-1]['finite'], state=client_states
    )
    return *self.outcome(steps, report), tff.federated_zip(last)

  def ask(
    self, number: int, server: tff.Value, data: tff.Value, client_states: tff.Value
  ) -> tuple[tff.Value, tff.Value]:
    """What an exchange broadcasts, at the server, and the clients' replies."""
    trip = self.trips[number]
    broadcast = tff.federated_map(trip.broadcast, server)
    received = tff.federated_broadcast(broadcast)
    return broadcast, tff.federated_map(trip.work, (received, data, client_states))

  def combine(
    self,
    number: int,
    state: tff.Value,
    server: tff.Value,
    arrived: Any,
    auxiliary: tff.Value,
    client: tff.Value,
    further: tff.Value,
  ) -> 'Step':
    """The server's step with what has arrived in an exchange.

    Args:
      number: of the exchange.
      state: S before the round.
      server: the server's part of it as it is now.
      arrived: <update, weight, finite> at the clients.
      auxiliary: at the clients.
      client: their positions.
      further: what the combiner is given besides.
    """
    trip = self.trips[number]
    sent = collections.OrderedDict(
      update=arrived['update'], weight=arrived['weight'], client=client
    )
    combined = trip.combining.next(state['aggregator'][number], sent, further)
    participants = tff.federated_sum(arrived['finite'])
    mean = trip.mean_auxiliary(auxiliary, arrived)
    server = tff.federated_map(trip.finish, (server, combined.result, mean, participants))
    return Step(server, combined.state, combined.measurements, participants)

  def outcome(self, steps: Sequence['Step'], report: tff.Value) -> tuple[tff.Value, tff.Value]:
    """The new S and M, from the steps of all exchanges and the clients' rows of the report."""
    server, participants = steps[-1].server, steps[-1].participants
    measurements = [step.measurements for step in steps]
    measured = collections.OrderedDict(
      participants=participants,
      report=stacking.stack_at_server(report),
      aggregation=measurements[0] if len(measurements) == 1 else tuple(measurements),
      method=tff.federated_map(self._measures(), server),
    )
    aggregators = tuple(step.aggregator for step in steps)
    state = collections.OrderedDict(server=server, aggregator=aggregators)
    return tff.federated_zip(state), tff.federated_zip(measured)

  def reference(self, trip: Trip, broadcast: tff.Value) -> tff.Value:
    """What a client with the server's own examples would send; empty where nobody asks."""
    if not trip.combiner.needs_reference:
      return tff.federated_value((), tff.SERVER)
    own = tff.tensorflow.computation(
      lambda broadcast: trip.half.update_of(
        broadcast,
        tf.nest.map_structure(tf.constant, self.parts.server_data),
        tf.nest.map_structure(tf.constant, self._new_client['method']),
      ),
      broadcast.type_signature.member,
    )
    return tff.federated_map(own, broadcast)

  def report(self, whose: tff.Type) -> tff.Computation:
    """(`whose`, <weight, finite> and facts of each exchange) -> a client's row of the report.

    Of whose it is, `client` and `num_examples` are read.
    """
    arrived = tff.to_type(collections.OrderedDict(weight=np.float32, finite=np.float32))
    facts = tuple(trip.work.type_signature.result['facts'] for trip in self.trips)
    return tff.tensorflow.computation(client_half.report, [whose, (arrived,) * len(facts), facts])

  def _measures(self) -> tff.Computation:
    """The method's own numbers, from the server's state."""
    return tff.tensorflow.computation(self._server.measures, self.server_type)

  def _keep(self) -> tff.Computation:
    """(<client, finite, state>, T before the round) -> <client, state> to be stored."""
    last = collections.OrderedDict(client=np.int32, finite=np.float32, state=self.client_type)

    @tff.tensorflow.computation(tff.to_type(last), self.client_type)
    def keep(last, before):
      state = choose(last['finite'] > 0.0, last['state'], before)
      return collections.OrderedDict(client=last['client'], state=state)

    return keep


@tff.tensorflow.computation(np.bool_, np.float32)
def _both(finite, before):
  return tf.logical_and(finite, before > 0.0)


def _zip(*values: Any) -> tff.Value:
  """Values at one placement, and tuples and dictionaries of them, as one."""
  return tff.federated_zip(tuple(values))

"""From a method to TFF computations: the only place where a federated round is put together.

    initialize: ( -> S@SERVER)
    next:       (<S@SERVER, {D}@CLIENTS> -> <S@SERVER, M@SERVER>)

with D the client's data (see `fl_research.client_data`). Where clients keep a state
T = <method=…, compressor=…> from round to round it is an argument of its own, so that cohorts can
be stacked ahead of their round whatever the states will be,

    next:       (<S@SERVER, {D}@CLIENTS, {T}@CLIENTS>
                 -> <S, M, <client=int32[?], state=T[?]>>@SERVER),

and the new states come back stacked, for the training loop to store by client.

S = <weights, method, optimizer, aggregator, round_num=int32>.
M = <participants=float32, report=<client=int32[?], values=float64[?,k]>, aggregation=…>: one row of
`report` for each client, in the runtime's order, its k columns named by
`FederatedProcess.report_columns`.
"""

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple, Optional, Protocol, Union

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import registry
from fl_research.aggregation import mean, stacking
from fl_research.aggregation import sums as sums_lib
from fl_research.aggregation.compression import compressor as compressor_lib
from fl_research.aggregation.private import PrivateAggregator
from fl_research.aggregation.stacked import StackedAggregator
from fl_research.models import model as model_lib
from fl_research.population.attacks import attack as attack_lib
from fl_research.round import client_half, local_training
from fl_research.round import method as algorithm_lib

Schedule = Callable[[tf.Tensor], tf.Tensor]
"""Round number (int32, the first round is 0) -> the factor of the learning rate (float32)."""


def constant_schedule(round_num: tf.Tensor) -> tf.Tensor:
  """The schedule that changes nothing."""
  del round_num
  return tf.constant(1.0)


def client_data_type(model: model_lib.Model, batch_size: Optional[int] = None) -> tff.Type:
  """The type D of one client's data; `batch_size` None leaves B open (B = infinity)."""
  x, y = model.input_spec
  tensor = lambda spec: tff.TensorType(spec.dtype.as_numpy_dtype, spec.shape)
  return tff.to_type(
    collections.OrderedDict(
      examples=collections.OrderedDict(x=tensor(x), y=tensor(y)),
      batches=tff.TensorType(np.int32, (None, batch_size)),
      num_examples=np.int32,
      client=np.int32,
      seed=tff.TensorType(np.int32, (2,)),
    )
  )


@dataclasses.dataclass(frozen=True)
class Parts:
  """What a federated round is made of.

  Attributes:
    model: the model, whose initial weights start the run.
    algorithm: the method.
    client_optimizer: optimiser of the local steps; fresh on every client and in every round.
    server_optimizer: optimiser of the server's step.
    aggregator: any `tff.aggregators` factory, weighted or not, or a `StackedAggregator`; the
      weighted mean when None.
    sums: how sums over clients are taken that are not the aggregator's own.
    compressor: how updates are sent; as they are when None.
    attack: what the attackers do; nobody lies when None.
    attackers: positions of the attackers.
    client_weighting: p_k in proportion to a client's examples, to its tokens (labels that are not
      padding), or the same for all.
    client_schedule, server_schedule: factors of the two learning rates by round.
    batch_size: B when it is fixed, for a tighter type; None leaves it open.
    population_size: number of clients that can be drawn, for methods whose server keeps a mean over
      all of them; None where no method asks.
  """

  model: model_lib.Model
  algorithm: algorithm_lib.Algorithm
  client_optimizer: tff.learning.optimizers.Optimizer
  server_optimizer: tff.learning.optimizers.Optimizer
  aggregator: Union[tff.aggregators.AggregationFactory, StackedAggregator, None] = None
  sums: sums_lib.Sums = sums_lib.CLEAR
  compressor: Optional[compressor_lib.Compressor] = None
  attack: Optional[attack_lib.Attack] = None
  attackers: tuple[int, ...] = ()
  client_weighting: str = 'num_examples'
  client_schedule: Schedule = constant_schedule
  server_schedule: Schedule = constant_schedule
  batch_size: Optional[int] = None
  population_size: Optional[int] = None

  @property
  def keeps_client_state(self) -> bool:
    """Whether clients carry a state from round to round, the method's or the compressor's."""
    compressor = self.compressor
    return self.algorithm.keeps_client_state or bool(compressor and compressor.keeps_client_state)

  def shared(self, tensors: Sequence[Any]) -> list[Any]:
    """Of one thing for each weight, those of the weights that clients share."""
    shared = self.algorithm.is_shared(self.model.weight_names)
    return [tensor for tensor, is_shared in zip(tensors, shared, strict=True) if is_shared]

  def initial_weights(self) -> local_training.Weights:
    """The initial weights as tensors of the graph that is being built."""
    return tuple(tf.constant(w) for w in self.model.initial_weights[0])


class RoundResult(NamedTuple):
  """What a round leaves.

  Attributes:
    state: the new S.
    measured: M.
    kept: <client=int32[n], state=T[n]>, the new client states stacked, in any order; None where
      clients keep none.
  """

  state: Any
  measured: Any
  kept: Optional[Any]


class ClientStates(Protocol):
  """What a round asks of the store of its clients' states."""

  def get(self, ids: Iterable[int]) -> Sequence[Any]:
    """The T of these clients."""

  def put(self, ids: Iterable[int], stacked: Any) -> None:
    """Stores new T of these clients, stacked."""


@dataclasses.dataclass(frozen=True)
class FederatedProcess:
  """A federated optimisation method, ready to run.

  Attributes:
    initialize: `( -> S@SERVER)`.
    next: `(<S@SERVER, {D}@CLIENTS, …> -> <S, M, …>@SERVER)`, see the module's docstring.
    client_data_type: the type D of one client's data.
    report_columns: names of the columns of `M.report.values`.
    initial_client_state: the state of a client never seen before, as NumPy arrays; None for
      methods that keep none.
    parts: what the process is made of.
    aggregation_columns: names of the scalars among `M.aggregation`, the aggregator's measurements;
      those of measurements within measurements are joined by `/`.
    bytes_down_per_client, bytes_up_per_client: uncompressed size of what a client receives and
      of what it sends, measured by the types that cross the wire.
    method_columns: names of the scalars that `M.method` has, the method's own measurements.
  """

  initialize: tff.Computation
  next: tff.Computation
  client_data_type: tff.Type
  report_columns: tuple[str, ...]
  initial_client_state: Optional[Any]
  parts: Parts
  aggregation_columns: tuple[str, ...]
  bytes_down_per_client: int
  bytes_up_per_client: int
  method_columns: tuple[str, ...] = ()

  @property
  def algorithm(self) -> algorithm_lib.Algorithm:
    """The method."""
    return self.parts.algorithm

  @property
  def keeps_client_state(self) -> bool:
    """Whether clients carry a state from round to round."""
    return self.initial_client_state is not None

  def run_round(
    self, state: Any, cohort: Sequence[Any], client_states: Optional[ClientStates] = None
  ) -> RoundResult:
    """One round of `next`, whether clients keep a state or not.

    Args:
      state: S.
      cohort: the D of each client.
      client_states: where the T of the cohort are read and written; nobody has taken part before,
        and what clients would keep is forgotten, when None.
    """
    if not self.keeps_client_state:
      state, measured = self.next(state, cohort)
      return RoundResult(state, measured, None)
    if client_states is None:
      return RoundResult(*self.next(state, cohort, [self.initial_client_state] * len(cohort)))
    states = client_states.get([data['client'] for data in cohort])
    state, measured, kept = self.next(state, cohort, states)
    client_states.put(kept['client'], kept['state'])
    return RoundResult(state, measured, kept)

  def model_weights(self, state: Any) -> tuple[np.ndarray, ...]:
    """The global model of a server state."""
    return tuple(np.asarray(w) for w in state['server']['weights'])

  def aggregation_metrics(self, measured: Any) -> dict[str, Any]:
    """One round's values of `aggregation_columns`, from its M."""
    values = dict(_leaves(measured['aggregation']))
    return {name: np.asarray(values[name]).item() for name in self.aggregation_columns}

  def method_metrics(self, measured: Any) -> dict[str, Any]:
    """One round's values of `method_columns`, from its M."""
    return {name: np.asarray(measured['method'][name]).item() for name in self.method_columns}


def build_process(parts: Parts) -> FederatedProcess:
  """Composes a method with its parts.

  A client whose update or new state holds an infinity or a NaN is left out: it counts with weight
  zero, sends zeros, keeps its old state, and its report says `finite` = 0. When no client
  is left the server's state stays as it was, but for the round number; under a `PrivateAggregator`
  it steps all the same.

  Raises:
    UsageError: the method's or the compressor's hyperparameters do not fit the model, or the attack
      or the method does not fit the aggregator.
    ValueError: the method needs the size of the population and `parts` does not give it.
  """
  parts = dataclasses.replace(parts, algorithm=parts.algorithm.for_model(parts.model))
  if parts.algorithm.needs_population_size and not parts.population_size:
    raise ValueError('This method needs Parts.population_size, the number of clients.')
  update_type = tff.to_type(
    [tff.TensorType(w.dtype, w.shape) for w in parts.shared(parts.model.initial_weights[0])]
  )
  if parts.compressor is not None:
    parts.compressor.check_shapes(
      [tuple(w.shape) for w in parts.shared(parts.model.initial_weights[0])]
    )
  aggregate = _aggregation(parts, update_type)
  initial_server = tff.tensorflow.computation(functools.partial(_initial_server, parts))
  initial_client = tff.tensorflow.computation(functools.partial(_initial_client, parts))
  server_type = initial_server.type_signature.result
  data_type = client_data_type(parts.model, parts.batch_size)
  client_type = initial_client.type_signature.result
  broadcast_computation = tff.tensorflow.computation(
    functools.partial(_make_broadcast, parts), server_type
  )
  work = tff.tensorflow.computation(
    functools.partial(client_half.client_step, parts),
    [broadcast_computation.type_signature.result, data_type, client_type],
  )
  result_type = work.type_signature.result
  _check_private(parts, result_type)
  server_step = tff.tensorflow.computation(
    functools.partial(_server_step, parts),
    [server_type, update_type, result_type['auxiliary'], np.float32],
  )

  @tff.federated_computation
  def initialize():
    server = tff.federated_eval(initial_server, tff.SERVER)
    return tff.federated_zip(
      collections.OrderedDict(server=server, aggregator=aggregate.initialize())
    )

  def one_round(state, data, client_states):
    broadcast = tff.federated_broadcast(tff.federated_map(broadcast_computation, state['server']))
    result = tff.federated_map(work, (broadcast, data, client_states))
    combined = aggregate.next(state['aggregator'], result)
    auxiliary = _mean_auxiliary(parts, result)
    participants = tff.federated_sum(result['finite'])
    server = tff.federated_map(
      server_step, (state['server'], combined.result, auxiliary, participants)
    )
    new_state = tff.federated_zip(collections.OrderedDict(server=server, aggregator=combined.state))
    measurements = tff.federated_zip(
      collections.OrderedDict(
        participants=participants,
        report=stacking.stack_at_server(result['report']),
        aggregation=combined.measurements,
      )
    )
    if not parts.keeps_client_state:
      return new_state, measurements
    return new_state, measurements, stacking.stack_at_server(result['kept'])

  at_clients = functools.partial(tff.FederatedType, placement=tff.CLIENTS)
  if parts.keeps_client_state:
    next_round = tff.federated_computation(
      one_round, initialize.type_signature.result, at_clients(data_type), at_clients(client_type)
    )
  else:

    @tff.federated_computation(initialize.type_signature.result, at_clients(data_type))
    def next_round(state, data):
      return one_round(state, data, tff.federated_value(initial_client(), tff.CLIENTS))

  return FederatedProcess(
    initialize=initialize,
    next=next_round,
    client_data_type=data_type,
    report_columns=client_half.report_columns(parts.model),
    initial_client_state=initial_client() if parts.keeps_client_state else None,
    parts=parts,
    aggregation_columns=_scalar_names(next_round.type_signature.result[1].member['aggregation']),
    bytes_down_per_client=_bytes_down(parts, broadcast_computation.type_signature.result),
    bytes_up_per_client=_bytes_up(parts, result_type),
  )


def _check_private(parts: Parts, result_type: tff.StructType) -> None:
  """Under a private aggregator nothing but the update may leave a client."""
  if not isinstance(parts.aggregator, PrivateAggregator):
    return
  if not parts.shared(parts.model.weight_names):
    raise registry.UsageError(
      '--algorithm: differential privacy needs a method that shares weights; this one shares none'
    )
  if _num_bytes(result_type['auxiliary']):
    raise registry.UsageError(
      '--algorithm: clients of this method send more than their update, which the clipping and the '
      'noise of differential privacy would not cover; accepted are methods that send updates only'
    )


def _leaves(structure: Any, path: str = '') -> Iterator[tuple[str, Any]]:
  """All (path, leaf) of nested mappings and sequences."""
  if isinstance(structure, (list, tuple)):
    structure = dict(enumerate(structure))
  if not isinstance(structure, Mapping):
    yield path, structure
    return
  for name, member in structure.items():
    yield from _leaves(member, f'{path}/{name}' if path else str(name))


def _scalar_names(type_spec: tff.Type) -> tuple[str, ...]:
  """Paths of the numbers in a structure of tensors."""
  specs = _leaves(tff.types.type_to_tf_tensor_specs(type_spec))
  numeric = lambda spec: spec.dtype.is_floating or spec.dtype.is_integer
  return tuple(path for path, spec in specs if spec.shape.rank == 0 and numeric(spec))


def _num_bytes(type_spec: tff.Type) -> int:
  """Size of a structure of tensors of fixed shapes."""
  specs = tf.nest.flatten(tff.types.type_to_tf_tensor_specs(type_spec))
  return sum(spec.dtype.size * spec.shape.num_elements() for spec in specs)


def _bytes_down(parts: Parts, broadcast_type: tff.StructType) -> int:
  """Size of what a client receives; weights that are not shared are not sent."""
  if not parts.algorithm.shares_update:
    return 0
  sent = parts.shared(parts.model.initial_weights[0])
  return sum(w.nbytes for w in sent) + _num_bytes(broadcast_type['method']) + 4


def _bytes_up(parts: Parts, result_type: tff.StructType) -> int:
  """Size of a client's update, auxiliary tensors and weight, uncompressed."""
  if not parts.algorithm.shares_update:
    return 0
  return sum(_num_bytes(result_type[part]) for part in ('update', 'auxiliary', 'weight'))


class _Aggregation(NamedTuple):
  """An aggregator as the round calls it: `next(state, clients' results)`."""

  initialize: tff.Computation
  next: Callable[[tff.Value, tff.Value], tff.templates.MeasuredProcessOutput]


def _aggregation(parts: Parts, update_type: tff.Type) -> _Aggregation:
  """The aggregator, whatever its kind, over the results of the clients."""
  # Where clients share nothing there is nothing to combine, which not every rule can do.
  nothing_shared = not parts.shared(parts.model.weight_names)
  aggregator = mean.build() if nothing_shared else parts.aggregator or mean.build(parts.sums)
  if parts.attack is not None and parts.attack.colludes:
    aggregator = _stacked_form(aggregator)
  if isinstance(aggregator, StackedAggregator):
    return _stacked_aggregation(parts, aggregator)
  if isinstance(aggregator, tff.aggregators.WeightedAggregationFactory):
    weighted = aggregator.create(update_type, tff.TensorType(np.float32))
    return _Aggregation(
      weighted.initialize,
      lambda state, result: weighted.next(state, result['update'], result['weight']),
    )
  unweighted = aggregator.create(update_type)
  return _Aggregation(
    unweighted.initialize, lambda state, result: unweighted.next(state, result['update'])
  )


def _stacked_form(aggregator: Any) -> StackedAggregator:
  """The aggregator as a rule over stacked updates, which attackers can see before they send."""
  if isinstance(aggregator, StackedAggregator):
    return aggregator
  stacked = aggregator.stacked() if hasattr(aggregator, 'stacked') else None
  if stacked is None:
    raise registry.UsageError(
      '--attack: attackers who collude see all updates of a round before they send theirs, which '
      'this --aggregator (or what protects it) does not allow'
    )
  return stacked


def _stacked_aggregation(parts: Parts, aggregator: StackedAggregator) -> _Aggregation:
  """Stacks updates at the server, lets attackers collude, and applies the rule."""

  def next_fn(state, result):
    sent = collections.OrderedDict(
      update=result['update'], weight=result['weight'], client=result['report']['client']
    )
    stacked = stacking.stack_at_server(tff.federated_zip(sent))
    combine = tff.tensorflow.computation(
      functools.partial(_combine, parts, aggregator), stacked.type_signature.member
    )
    nothing = tff.federated_value((), tff.SERVER)
    return tff.templates.MeasuredProcessOutput(state, tff.federated_map(combine, stacked), nothing)

  initialize = tff.federated_computation(lambda: tff.federated_value((), tff.SERVER))
  return _Aggregation(initialize, next_fn)


def _combine(parts: Parts, aggregator: StackedAggregator, stacked: Any):
  """The rule on the updates of those that count, in the order of their clients."""
  order = tf.argsort(stacked['client'], stable=True)
  order = tf.boolean_mask(order, tf.gather(stacked['weight'], order) > 0.0)
  updates = tuple(tf.gather(update, order) for update in stacked['update'])
  weights = tf.gather(stacked['weight'], order)
  if parts.attack is not None and parts.attack.colludes:
    attacker = client_half.is_attacker(parts, tf.gather(stacked['client'], order))
    updates = parts.attack.collude(updates, attacker)
  shapes = [update.shape[1:] for update in updates]
  combined = tf.cond(
    tf.size(order) > 0,
    lambda: tuple(aggregator.combine(updates, weights)),
    lambda: tuple(tf.zeros(shape) for shape in shapes),
  )
  return [tf.ensure_shape(tensor, shape) for tensor, shape in zip(combined, shapes)]


def _initial_server(parts: Parts):
  weights = parts.initial_weights()
  specs = tuple(tf.TensorSpec(w.shape, w.dtype) for w in weights)
  return collections.OrderedDict(
    weights=list(weights),
    method=parts.algorithm.initial_server_state(weights),
    optimizer=parts.server_optimizer.initialize(specs),
    round_num=tf.constant(0),
  )


def _initial_client(parts: Parts):
  weights = parts.initial_weights()
  compressor = parts.compressor
  return collections.OrderedDict(
    method=parts.algorithm.initial_client_state(weights),
    compressor=(
      compressor.initial_client_state(tuple(parts.shared(weights))) if compressor else ()
    ),
  )


def _server(server: Any) -> algorithm_lib.Server:
  return algorithm_lib.Server(tuple(server['weights']), server['method'], server['optimizer'])


def _make_broadcast(parts: Parts, server: Any):
  return collections.OrderedDict(
    weights=server['weights'],
    method=parts.algorithm.message(_server(server)),
    learning_rate_factor=parts.client_schedule(server['round_num']),
  )


def _server_step(parts: Parts, server: Any, update: Any, auxiliary: Any, participants: Any):
  if isinstance(parts.aggregator, PrivateAggregator):
    # How many really took part is private, even that it was nobody.
    participants = tf.constant(parts.aggregator.expected_participants)
  before = _server(server)
  optimizer = parts.server_optimizer
  scaled = local_training.scale_learning_rate(
    optimizer, before.optimizer, parts.server_schedule(server['round_num'])
  )
  after = parts.algorithm.server_update(
    optimizer,
    before._replace(optimizer=scaled),
    algorithm_lib.Aggregated(
      _with_zeros(parts, update),
      auxiliary,
      participants,
      tf.constant(float(parts.population_size or 0)),
    ),
  )
  # The scaled rate was this round's only: the state keeps the base rate.
  base = optimizer.set_hparams(after.optimizer, optimizer.get_hparams(before.optimizer))
  after = client_half.choose(participants > 0.0, after._replace(optimizer=base), before)
  return collections.OrderedDict(
    weights=list(after.weights),
    method=after.method,
    optimizer=after.optimizer,
    round_num=server['round_num'] + 1,
  )


def _with_zeros(parts: Parts, update: Any) -> local_training.Weights:
  """The update of all weights: zero for those that are not shared."""
  sent = iter(update)
  shared = parts.algorithm.is_shared(parts.model.weight_names)
  return tuple(
    next(sent) if is_shared else tf.zeros(w.shape, w.dtype)
    for w, is_shared in zip(parts.model.initial_weights[0], shared)
  )


def _mean_auxiliary(parts: Parts, result: tff.Value) -> tff.Value:
  """The mean over clients of their auxiliary tensors; zeros where no client is left."""
  auxiliary = result['auxiliary']
  auxiliary_type = auxiliary.type_signature.member
  # A secure sum of no tensors at all cannot be had.
  sums = parts.sums if _num_bytes(auxiliary_type) else sums_lib.CLEAR
  process = sums.mean().create(auxiliary_type, tff.TensorType(np.float32))
  by_update = parts.algorithm.auxiliary_weighting == 'update'
  weight = result['weight'] if by_update else result['finite']
  return process.next(process.initialize(), auxiliary, weight).result

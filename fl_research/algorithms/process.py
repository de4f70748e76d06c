"""From a method to TFF computations: the only place where a federated round is put together.

    initialize: ( -> S@SERVER)
    next:       (<S@SERVER, {C}@CLIENTS> -> <S@SERVER, M@SERVER>)

with C = D, the client's data (see `fl_research.client_data`), or <data=D, state=T> for methods
whose clients keep a state T; those give <S, M, <client=int32[?], state=T[?]>>@SERVER, the new
states stacked, for the training loop to store by client.

S = <weights, method, optimizer, aggregator, round_num=int32>.
M = <participants=float32, report=<client=int32[?], values=float32[?,k]>, aggregation=…>: one row of
`report` for each client, in the runtime's order, its k columns named by
`FederatedProcess.report_columns`.
"""

import collections
from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any, Optional

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.aggregation import stacking
from fl_research.algorithms import algorithm as algorithm_lib
from fl_research.algorithms import client_work
from fl_research.models import model as model_lib

REPORT_COLUMNS = ('num_examples', 'weight', 'finite', 'num_steps')

Schedule = Callable[[tf.Tensor], tf.Tensor]
"""Round number (int32, the first round is 0) -> the factor of the learning rate (float32)."""


def constant_schedule(round_num: tf.Tensor) -> tf.Tensor:
  """The schedule that changes nothing."""
  del round_num
  return tf.constant(1.0)


@dataclasses.dataclass(frozen=True)
class FederatedProcess:
  """A federated optimisation method, ready to run.

  Attributes:
    initialize: `( -> S@SERVER)`.
    next: `(<S@SERVER, {C}@CLIENTS> -> <S, M>@SERVER)`, see the module's docstring.
    client_data_type: the type D of one client's data.
    report_columns: names of the columns of `M.report.values`.
    initial_client_state: the state of a client never seen before, as NumPy arrays; None for
      methods that keep none.
    algorithm: the method.
    bytes_down_per_client, bytes_up_per_client: uncompressed size of what a client receives and
      of what it sends, measured by the types that cross the wire.
  """

  initialize: tff.Computation
  next: tff.Computation
  client_data_type: tff.Type
  report_columns: tuple[str, ...]
  initial_client_state: Optional[Any]
  algorithm: algorithm_lib.Algorithm
  bytes_down_per_client: int
  bytes_up_per_client: int

  @property
  def keeps_client_state(self) -> bool:
    return self.initial_client_state is not None

  def model_weights(self, state: Any) -> tuple[np.ndarray, ...]:
    """The global model of a server state."""
    return tuple(np.asarray(w) for w in state['server']['weights'])


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


def _client_weight(weighting: str, data: Any) -> tf.Tensor:
  if weighting == 'num_examples':
    return tf.cast(data['num_examples'], tf.float32)
  if weighting == 'uniform':
    return tf.constant(1.0)
  # Padding rows of y are zeros, and so is the padding token.
  return tf.reduce_sum(tf.cast(data['examples']['y'] != 0, tf.float32))


def _choose(condition: tf.Tensor, new: Any, old: Any) -> Any:
  return tf.nest.map_structure(lambda n, o: tf.where(condition, n, o), new, old)


@dataclasses.dataclass(frozen=True)
class Parts:
  """What a federated round is made of.

  Attributes:
    model: the model, whose initial weights start the run.
    algorithm: the method.
    client_optimizer: optimiser of the local steps; fresh on every client and in every round.
    server_optimizer: optimiser of the server's step.
    aggregator: any `tff.aggregators` factory, weighted or not; the weighted mean when None.
    client_weighting: p_k in proportion to a client's examples, to its tokens (labels that are not
      padding), or the same for all.
    client_schedule, server_schedule: factors of the two learning rates by round.
    batch_size: B when it is fixed, for a tighter type; None leaves it open.
  """

  model: model_lib.Model
  algorithm: algorithm_lib.Algorithm
  client_optimizer: tff.learning.optimizers.Optimizer
  server_optimizer: tff.learning.optimizers.Optimizer
  aggregator: Optional[tff.aggregators.AggregationFactory] = None
  client_weighting: str = 'num_examples'
  client_schedule: Schedule = constant_schedule
  server_schedule: Schedule = constant_schedule
  batch_size: Optional[int] = None

  def initial_weights(self) -> client_work.Weights:
    """The initial weights as tensors of the graph that is being built."""
    return tuple(tf.constant(w) for w in self.model.initial_weights[0])


def build_process(parts: Parts) -> FederatedProcess:
  """Composes a method with its parts.

  A client whose update holds an infinity or a NaN is left out: it counts with weight zero, sends
  zeros, keeps its old state, and its report says `finite` = 0. When no client is left the server's
  state stays as it was, but for the round number.
  """
  weights_type = tff.to_type(
    [tff.TensorType(w.dtype, w.shape) for w in parts.model.initial_weights[0]]
  )
  aggregate = _aggregation(parts.aggregator, weights_type)
  names = client_work.metric_names(parts.model)
  initial_server = tff.tensorflow.computation(functools.partial(_initial_server, parts))
  initial_client = tff.tensorflow.computation(
    lambda: parts.algorithm.initial_client_state(parts.initial_weights())
  )
  server_type = initial_server.type_signature.result
  data_type = client_data_type(parts.model, parts.batch_size)
  keeps_state = parts.algorithm.keeps_client_state
  input_type = tff.to_type(
    collections.OrderedDict(data=data_type, state=initial_client.type_signature.result)
    if keeps_state
    else data_type
  )
  broadcast_computation = tff.tensorflow.computation(
    functools.partial(_make_broadcast, parts), server_type
  )
  work = tff.tensorflow.computation(
    functools.partial(_work, parts, names),
    [broadcast_computation.type_signature.result, input_type],
  )
  result_type = work.type_signature.result
  server_step = tff.tensorflow.computation(
    functools.partial(_server_step, parts),
    [server_type, weights_type, result_type['auxiliary'], np.float32],
  )

  @tff.federated_computation
  def initialize():
    server = tff.federated_eval(initial_server, tff.SERVER)
    return tff.federated_zip(
      collections.OrderedDict(server=server, aggregator=aggregate.initialize())
    )

  @tff.federated_computation(
    initialize.type_signature.result, tff.FederatedType(input_type, tff.CLIENTS)
  )
  def next_round(state, clients):
    broadcast = tff.federated_broadcast(tff.federated_map(broadcast_computation, state['server']))
    result = tff.federated_map(work, (broadcast, clients))
    combined = aggregate.next(state['aggregator'], result['update'], result['weight'])
    auxiliary = _mean_auxiliary(result, parts.algorithm.auxiliary_weighting)
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
    if not keeps_state:
      return new_state, measurements
    return new_state, measurements, stacking.stack_at_server(result['kept'])

  return FederatedProcess(
    initialize=initialize,
    next=next_round,
    client_data_type=data_type,
    report_columns=(*REPORT_COLUMNS, *names),
    initial_client_state=initial_client() if keeps_state else None,
    algorithm=parts.algorithm,
    bytes_down_per_client=_num_bytes(broadcast_computation.type_signature.result),
    bytes_up_per_client=_bytes_up(parts.algorithm, result_type),
  )


def _num_bytes(type_spec: tff.Type) -> int:
  """Size of a structure of tensors of fixed shapes."""
  specs = tf.nest.flatten(tff.types.type_to_tf_tensor_specs(type_spec))
  return sum(spec.dtype.size * spec.shape.num_elements() for spec in specs)


def _bytes_up(algorithm: algorithm_lib.Algorithm, result_type: tff.StructType) -> int:
  """Size of a client's update, auxiliary tensors and weight."""
  if not algorithm.shares_update:
    return 0
  return sum(_num_bytes(result_type[part]) for part in ('update', 'auxiliary', 'weight'))


def _aggregation(
  factory: Optional[tff.aggregators.AggregationFactory], weights_type: tff.Type
) -> tff.templates.AggregationProcess:
  """A weighted aggregation process from any factory; those without weights ignore them."""
  factory = factory or tff.aggregators.MeanFactory(no_nan_division=True)
  if isinstance(factory, tff.aggregators.WeightedAggregationFactory):
    return factory.create(weights_type, tff.TensorType(np.float32))
  unweighted = factory.create(weights_type)

  @tff.federated_computation(
    unweighted.state_type,
    tff.FederatedType(weights_type, tff.CLIENTS),
    tff.FederatedType(np.float32, tff.CLIENTS),
  )
  def next_fn(state, value, weight):
    del weight
    return unweighted.next(state, value)

  return tff.templates.AggregationProcess(unweighted.initialize, next_fn)


def _initial_server(parts: Parts):
  weights = parts.initial_weights()
  specs = tuple(tf.TensorSpec(w.shape, w.dtype) for w in weights)
  return collections.OrderedDict(
    weights=list(weights),
    method=parts.algorithm.initial_server_state(weights),
    optimizer=parts.server_optimizer.initialize(specs),
    round_num=tf.constant(0),
  )


def _server(server: Any) -> algorithm_lib.Server:
  return algorithm_lib.Server(tuple(server['weights']), server['method'], server['optimizer'])


def _make_broadcast(parts: Parts, server: Any):
  return collections.OrderedDict(
    weights=server['weights'],
    method=parts.algorithm.message(_server(server)),
    learning_rate_factor=parts.client_schedule(server['round_num']),
  )


def _work(parts: Parts, names: Sequence[str], broadcast: Any, inputs: Any):
  """One client's work, with what must be sent besides the update, and the guard against NaN."""
  data, old_state = inputs, ()
  if parts.algorithm.keeps_client_state:
    data, old_state = inputs['data'], inputs['state']
  received = algorithm_lib.Broadcast(
    tuple(broadcast['weights']), broadcast['method'], broadcast['learning_rate_factor']
  )
  result = parts.algorithm.client_work(
    parts.model, parts.client_optimizer, received, data, old_state
  )
  sent = (list(result.update), result.auxiliary)
  finite = client_work.all_finite(sent)
  update, auxiliary = _choose(finite, sent, tf.nest.map_structure(tf.zeros_like, sent))
  weight = tf.where(finite, _client_weight(parts.client_weighting, data), 0.0)
  row = [data['num_examples'], weight, finite, result.num_steps]
  row.extend(result.sums[name] for name in names)
  report = collections.OrderedDict(
    client=data['client'], values=tf.stack([tf.cast(column, tf.float32) for column in row])
  )
  output = collections.OrderedDict(
    update=update,
    auxiliary=auxiliary,
    weight=weight,
    finite=tf.cast(finite, tf.float32),
    report=report,
  )
  if parts.algorithm.keeps_client_state:
    state = _choose(finite, result.client_state, old_state)
    output['kept'] = collections.OrderedDict(client=data['client'], state=state)
  return output


def _server_step(parts: Parts, server: Any, update: Any, auxiliary: Any, participants: Any):
  before = _server(server)
  optimizer = parts.server_optimizer
  scaled = client_work.scale_learning_rate(
    optimizer, before.optimizer, parts.server_schedule(server['round_num'])
  )
  after = parts.algorithm.server_update(
    optimizer,
    before._replace(optimizer=scaled),
    algorithm_lib.Aggregated(tuple(update), auxiliary, participants),
  )
  # The scaled rate was this round's only: the state keeps the base rate.
  base = optimizer.set_hparams(after.optimizer, optimizer.get_hparams(before.optimizer))
  after = _choose(participants > 0.0, after._replace(optimizer=base), before)
  return collections.OrderedDict(
    weights=list(after.weights),
    method=after.method,
    optimizer=after.optimizer,
    round_num=server['round_num'] + 1,
  )


def _mean_auxiliary(result: tff.Value, weighting: str) -> tff.Value:
  """The mean over clients of their auxiliary tensors; zeros from an empty or discarded cohort."""
  factory = tff.aggregators.MeanFactory(no_nan_division=True)
  auxiliary = result['auxiliary']
  mean = factory.create(auxiliary.type_signature.member, tff.TensorType(np.float32))
  weight = result['weight'] if weighting == 'update' else result['finite']
  state = mean.initialize()
  return mean.next(state, auxiliary, weight).result

"""A `tff.learning` process as a round of this library: the way back from `learning_process`.

    initialize: ( -> S@SERVER)
    next:       (<S@SERVER, {D}@CLIENTS> -> <S, M>@SERVER)

around a process whose `next` takes data sets of batches: each client's D is made such a data set,
its batches in their order and without padding, before anything else. So the training loop, its
drivers and both runtimes have cohorts, batches and checkpoints as for any other method; what a
client does with its batches, and what the server makes of it, is the process's own.

    M = <report=<client=int32[?], values=float64[?,3]>, metrics=what the process measures>

Of `metrics`, the numbers under client_work/train, as TFF's builders name them, are those of
training; those under aggregator become columns `aggregation/…`, all others `method/…`.
"""

import collections
from collections.abc import Callable, Mapping
import dataclasses
from typing import Any, Optional

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.aggregation import stacking
from fl_research.registry import UsageError
from fl_research.round import method as method_lib
from fl_research.round import minibatches, types
from fl_research.round.parts import Parts
from fl_research.round.process import FederatedProcess, leaves, scalar_names

_TRAINING = 'client_work/train/'
_AGGREGATOR = 'aggregator/'
_REPORT = ('num_examples', 'finite', 'bytes_up')


class OfLearningProcess(method_lib.Method):
  """A method that is a whole `tff.learning.templates.LearningProcess`.

  Of the hooks of a method none is asked: the global model is what the process says it is.

  Args:
    build: what makes the process of a run's parts: of its model, optimisers, aggregator and
      weighting.
    num_bytes: what a client is sent and what it sends with these parts, which `bytes_down` and
      `bytes_up` count; once the model each way when left out, as a process does not say.
  """

  def __init__(
    self,
    build: Callable[[Parts], tff.learning.templates.LearningProcess],
    num_bytes: Optional[Callable[[Parts], tuple[int, int]]] = None,
  ):
    self.build = build
    self.num_bytes = num_bytes or _once_each_way


@dataclasses.dataclass(frozen=True)
class LearningRounds(FederatedProcess):
  """Rounds of a learning process.

  Attributes:
    learning_process: the process.
  """

  learning_process: tff.learning.templates.LearningProcess = dataclasses.field(kw_only=True)

  def initialize(self) -> Any:
    return self.learning_process.initialize()

  def models(self, state: Any) -> dict[str, tuple[np.ndarray, ...]]:
    weights = self.learning_process.get_model_weights(state)
    return {'model': tuple(np.asarray(weight) for weight in weights.trainable)}

  def training_metrics(self, measured: Any) -> Mapping[str, float]:
    return _below(_TRAINING, _numbers(measured['metrics']))

  def aggregation_metrics(self, measured: Any) -> dict[str, Any]:
    return _below(_AGGREGATOR, _numbers(measured['metrics']))

  def method_metrics(self, measured: Any) -> dict[str, Any]:
    numbers = _numbers(measured['metrics'])
    return {name: numbers[name] for name in self.method_columns}


def build_process(parts: Parts) -> LearningRounds:
  """The rounds of the process that the method of these parts builds.

  Raises:
    UsageError: the model drops units in training, for which TFF's clients have no seed, or the
      process trains another model, or on other data.
  """
  method = parts.method.bind(parts.federation())
  assert isinstance(method, OfLearningProcess)
  if parts.model.needs_seed:
    raise UsageError(
      '--algorithm: a tff.learning process trains without the draws of dropout, which this --model '
      'needs; accepted are models without'
    )
  process = method.build(parts)
  _check_model(process, parts)
  data_type = types.client_data_type(parts.model, parts.batch_size)
  down, up = method.num_bytes(parts)
  next_round = _next(process, data_type, up)
  names = scalar_names(next_round.type_signature.result[1].member['metrics'])
  begins = lambda *prefixes: tuple(name for name in names if name.startswith(prefixes))
  others = set(names) - set(begins(_TRAINING, _AGGREGATOR))
  return LearningRounds(
    start=process.initialize,
    next=next_round,
    client_data_type=data_type,
    report_columns=_REPORT,
    client_state_type=tff.StructType([]),
    initial_client_state=None,
    parts=parts,
    method=method,
    aggregation_columns=tuple(name.removeprefix(_AGGREGATOR) for name in begins(_AGGREGATOR)),
    method_columns=tuple(name for name in names if name in others),
    bytes_down_per_client=down,
    bytes_up_per_client=up,
    learning_process=process,
  )


def _once_each_way(parts: Parts) -> tuple[int, int]:
  """The model's bytes, twice."""
  size = sum(weight.nbytes for weight in parts.model.initial_weights[0])
  return size, size


def _check_model(process: tff.learning.templates.LearningProcess, parts: Parts) -> None:
  """Sees that what the process trains is the run's model, which is what will be evaluated."""
  trained = process.get_model_weights.type_signature.result
  shapes = [(w.shape, w.dtype.type) for w in parts.model.initial_weights[0]]
  try:
    tensors = tf.nest.flatten(tff.types.type_to_tf_tensor_specs(trained.trainable))
    others = tf.nest.flatten(tff.types.type_to_tf_tensor_specs(trained.non_trainable))
  except AttributeError:
    tensors, others = [], []
  found = [(tuple(spec.shape), spec.dtype.as_numpy_dtype) for spec in tensors]
  if others or found != shapes:
    raise UsageError(
      '--algorithm: the learning process trains other weights than those of --model, which would '
      'be evaluated; build it around the model that it is given'
    )


def _next(
  process: tff.learning.templates.LearningProcess, data_type: tff.Type, bytes_up: int
) -> tff.Computation:
  """`next` of the module's docstring."""
  state_type, clients_type = process.next.type_signature.parameter
  element_type = clients_type.member.element
  to_batches = tff.tensorflow.computation(lambda data: _batches(data, element_type), data_type)
  if not clients_type.member.is_assignable_from(to_batches.type_signature.result):
    raise UsageError(
      f'--algorithm: the learning process takes {clients_type.member} of every client; accepted is '
      f'what clients have, {to_batches.type_signature.result}'
    )

  @tff.tensorflow.computation(data_type)
  def report(data):
    size = tf.cast(data['num_examples'], tf.float64)
    others = [tf.constant(value, tf.float64) for value in (1.0, float(bytes_up))]
    return collections.OrderedDict(client=data['client'], values=tf.stack([size, *others]))

  @tff.federated_computation(state_type, tff.FederatedType(data_type, tff.CLIENTS))
  def next_round(state, data):
    output = process.next(state, tff.federated_map(to_batches, data))
    measured = collections.OrderedDict(
      report=stacking.stack_at_server(tff.federated_map(report, data)), metrics=output.metrics
    )
    return output.state, tff.federated_zip(measured)

  return next_round


def _batches(data: Any, element_type: tff.Type) -> tf.data.Dataset:
  """A client's batches as a data set: pairs (x, y), or what the process calls the two."""
  form = tff.types.type_to_tf_tensor_specs(element_type)
  examples = data['examples']

  def batch(row):
    rows = tf.boolean_mask(row, row >= 0)
    x, y = tf.gather(examples['x'], rows), tf.gather(examples['y'], rows)
    return collections.OrderedDict(zip(form, (x, y))) if isinstance(form, Mapping) else (x, y)

  orders = data['batches'][: minibatches.num_steps(data)]
  return tf.data.Dataset.from_tensor_slices(orders).map(batch)


def _numbers(metrics: Any) -> dict[str, float]:
  """The numbers among what a process measures, by path."""
  values = {path: np.asarray(value) for path, value in leaves(metrics)}
  return {
    path: value.item()
    for path, value in values.items()
    if not value.ndim and value.dtype.kind in 'iuf'
  }


def _below(prefix: str, numbers: Mapping[str, float]) -> dict[str, float]:
  """Those whose path begins so, by the rest of it."""
  return {n.removeprefix(prefix): value for n, value in numbers.items() if n.startswith(prefix)}

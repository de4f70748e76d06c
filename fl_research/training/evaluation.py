"""Evaluation of a model on examples, as a federated computation.

The examples are cut into a few slices that play the part of clients, so that evaluation runs on the
same runtime, and on several cores, as training does; each is gone through in small steps. What a
client's own model is made of, which may take as long as a round, is made once a slice:

    evaluate: (<C@SERVER, {<x=…, y=…, first_row=int32>}@CLIENTS>
               -> <row=int32[?], columns=float32[?,k]>@SERVER)

C is what predictions are made from: a model's weights. Where clients predict each in its own way,
each plays its own part, and the examples go to all of them, as many in one call as memory is there
for:

    evaluate: (<server=…, x=…, y=…>@SERVER,
               {<state=…, data=…, number=int32, first=int32, last=int32>}@CLIENTS
               -> <number=int32[?], row=int32[?], columns=float32[?,k]>@SERVER)

Both give numbers per example (see `fl_research.models.objectives`), of which `fl_research.metrics`
makes metrics of the whole set or of every client.
"""

import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
import math
from typing import Any, Optional, Protocol

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import client_data, runtime
from fl_research.aggregation import stacking
from fl_research.datasets import federated_data
from fl_research.models import model as model_lib
from fl_research.models import objectives
from fl_research.round import client as client_lib
from fl_research.round import method as method_lib
from fl_research.round import process as process_lib
from fl_research.round import server_half, types
from fl_research.settings import Settings

_EXAMPLES_PER_STEP = 256
_SLICES = 4
_BYTES_AT_ONCE = 32 << 20


class _Columns:
  """Numbers per example, as a graph.

  Args:
    model: the model, whose input and metrics it takes.
    class_scores: whether the columns hold the probability of every class as well.
    answers: whether they hold the model's raw outputs instead, a column each.

  Attributes:
    x, y: the types of examples' inputs and labels.
    names: of the k columns; once a graph has been built.
  """

  def __init__(self, model: model_lib.Model, class_scores: bool, answers: bool):
    self.x, self.y = (tff.TensorType(s.dtype.as_numpy_dtype, s.shape) for s in model.input_spec)
    self.names: list[str] = []
    self._model = model
    self._class_scores = class_scores
    self._answers = answers

  def of(self, predict: method_lib.Predictor, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Float32 [n, k], some rows after the other."""
    columns = _in_steps(lambda *rows: self._of_step(predict, *rows), x, y)
    columns.set_shape([None, len(self.names)])
    return columns

  def _of_step(self, predict: method_lib.Predictor, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    output = predict(x)
    if self._answers:
      columns = objectives.raw_outputs(output)
    else:
      columns = self._model.example_metrics(output, y)
      if self._class_scores:
        columns.update(objectives.class_scores(output))
    self.names[:] = list(columns)
    return tf.stack(list(columns.values()), axis=1)


def _in_steps(columns: Callable[..., tf.Tensor], *tensors: tf.Tensor) -> tf.Tensor:
  """`columns` of a few rows after the other, float32 [n, k]."""
  size = tf.shape(tensors[0])[0]
  steps = (size + _EXAMPLES_PER_STEP - 1) // _EXAMPLES_PER_STEP

  def step(number, done):
    rows = slice(number * _EXAMPLES_PER_STEP, (number + 1) * _EXAMPLES_PER_STEP)
    return number + 1, done.write(number, columns(*(tensor[rows] for tensor in tensors)))

  none = tf.TensorArray(tf.float32, steps, infer_shape=False)
  less = lambda number, _: number < steps
  return tf.while_loop(less, step, (tf.constant(0), none), parallel_iterations=1)[1].concat()


class Evaluator:
  """Evaluates weights on example sets.

  Args:
    model: the model.
    class_scores: whether the columns hold the probability of every class as well.
    answers: whether they hold the model's raw outputs instead.
  """

  def __init__(self, model: model_lib.Model, class_scores: bool = False, answers: bool = False):
    self.class_scores = class_scores
    self._columns = _Columns(model, class_scores, answers)
    self._evaluate = _of_one_model(model, self._columns)

  def columns(self, weights: Sequence[Any], examples: 'ExampleSet') -> dict[str, np.ndarray]:
    """Numbers per example, float32 [n] by name, in the order of the examples."""
    names = self._columns.names
    if not examples.size:
      return _by_name(names, np.zeros([0, len(names)], np.float32))
    joined = self._evaluate(list(weights), examples.slices)
    return _by_name(names, np.asarray(joined['columns'])[np.argsort(np.asarray(joined['row']))])


def _of_one_model(model: model_lib.Model, columns: _Columns) -> tff.Computation:
  """The first computation of the module's docstring."""
  weights_type = tff.to_type([tff.TensorType(w.dtype, w.shape) for w in model.initial_weights[0]])
  slice_type = tff.to_type(collections.OrderedDict(x=columns.x, y=columns.y, first_row=np.int32))

  @tff.tensorflow.computation(weights_type, slice_type)
  def columns_of(weights, examples):
    predict = lambda x: model.predict_on_batch((tuple(weights), ()), x, False)
    found = columns.of(predict, examples['x'], examples['y'])
    rows = examples['first_row'] + tf.range(tf.shape(found)[0])
    return collections.OrderedDict(row=rows, columns=found)

  @tff.federated_computation(
    tff.FederatedType(weights_type, tff.SERVER), tff.FederatedType(slice_type, tff.CLIENTS)
  )
  def evaluate(weights, slices):
    found = tff.federated_map(columns_of, (tff.federated_broadcast(weights), slices))
    return stacking.join_at_server(found)

  return evaluate


def _by_name(names: Sequence[str], columns: np.ndarray) -> dict[str, np.ndarray]:
  return {name: columns[:, i] for i, name in enumerate(names)}


class PersonalColumns(Protocol):
  """Numbers per example of what clients would use."""

  def __call__(
    self, positions: Sequence[int], examples: 'ExampleSet', sizes: Optional[np.ndarray] = None
  ) -> Iterator[dict[str, np.ndarray]]:
    """Float32 [n] by name, of one client after the other.

    Args:
      positions: of the clients, among those that train.
      examples: what they are evaluated on.
      sizes: how many of these are each one's own, one's after the other's; all are everybody's when
        None.
    """


class PersonalEvaluator:
  """Evaluates what each client would use (`Method.predictor`).

  Args:
    process: the method.
    clients: the training clients, whose examples a predictor may look at.
    settings: the run's; gives batches and seed.
    answers: whether the columns hold what they predict, raw, and not how good it is.
    predictor_of: what is evaluated of a client in place of `Method.predictor`; by the same rules.
  """

  def __init__(
    self,
    process: process_lib.FederatedProcess,
    clients: federated_data.Clients,
    settings: Settings,
    answers: bool = False,
    predictor_of: Optional[Callable[[Any, client_lib.Client], method_lib.Predictor]] = None,
  ):
    self._clients = clients
    self._settings = settings
    self._columns = _Columns(process.parts.model, settings.evaluate_auc, answers)
    self._evaluate = _of_many_models(
      process, self._columns, predictor_of or process.method.predictor
    )

  def at(self, state: Any, client_states: Optional[process_lib.ClientStates]) -> PersonalColumns:
    """The evaluation of clients as they stand: with S, and the T that they keep."""

    def columns(positions, examples, sizes=None):
      ends = np.cumsum(sizes) if sizes is not None else np.full(len(positions), examples.size)
      begins = ends - (examples.size if sizes is None else sizes)
      people = (
        self._person(*each, client_states) for each in zip(positions, begins, ends, strict=True)
      )
      for some in self._at_once(people):
        for rows in self._of_some(state['server'], some, examples):
          yield _by_name(self._columns.names, rows)

    return columns

  def _person(
    self, position: int, first: int, last: int, states: Optional[process_lib.ClientStates]
  ) -> Any:
    """What tells a client apart, and which rows of the examples are for it."""
    return collections.OrderedDict(
      state=states.get([position])[0]['method'] if states else (),
      data=self._data(position),
      number=np.int32(0),
      first=np.int32(first),
      last=np.int32(last),
    )

  def _at_once(self, people: Iterable[Any]) -> Iterator[list[Any]]:
    """As many people at a time as memory is there for, one at least."""
    taken: list[Any] = []
    room = _BYTES_AT_ONCE
    for person in people:
      columns = int(person['last'] - person['first']) * (2 + len(self._columns.names))
      needed = 4 * columns + sum(np.asarray(leaf).nbytes for leaf in tf.nest.flatten(person))
      if taken and needed > room:
        yield taken
        taken, room = [], _BYTES_AT_ONCE
      taken.append(person)
      room -= needed
    if taken:
      yield taken

  def _of_some(
    self, server: Any, people: Sequence[Any], examples: 'ExampleSet'
  ) -> list[np.ndarray]:
    """Float32 [n, k] of each, in one call."""
    begin, end = int(people[0]['first']), int(people[-1]['last'])
    shared = collections.OrderedDict(
      server=server, x=examples.x[begin:end], y=examples.labels[begin:end]
    )
    pieces = [
      collections.OrderedDict(
        person, number=np.int32(number), first=np.int32(first), last=np.int32(last)
      )
      for number, person in enumerate(people)
      for first, last in _cut(
        int(person['first']) - begin, int(person['last']) - begin, max(1, _SLICES // len(people))
      )
    ]
    if not pieces:
      return [np.zeros([0, len(self._columns.names)], np.float32) for _ in people]
    joined = {
      name: np.asarray(rows)
      for name, rows in self._evaluate(shared, runtime.stack_clients(pieces)).items()
    }
    columns = joined['columns'][np.lexsort((joined['row'], joined['number']))]
    return np.split(
      columns, np.cumsum([person['last'] - person['first'] for person in people])[:-1]
    )

  def _data(self, position: int) -> Any:
    """A client's D for what it does outside all rounds, one epoch of its examples."""
    return client_data.client_data(
      self._clients.examples(position),
      batch_size=self._settings.batch_size or client_data.FULL_BATCH,
      epochs=1.0,
      seed=self._settings.seed,
      round_num=0,
      client=position,
      max_examples=self._settings.max_examples_per_client or None,
    )


def _of_many_models(
  process: process_lib.FederatedProcess,
  columns: _Columns,
  predictor_of: Callable[[Any, client_lib.Client], method_lib.Predictor],
) -> tff.Computation:
  """The second computation of the module's docstring."""
  model = process.parts.model
  shared_type = tff.to_type(
    collections.OrderedDict(
      server=process.start.type_signature.result.member['server'],
      x=columns.x,
      y=columns.y,
    )
  )
  person_type = tff.to_type(
    collections.OrderedDict(
      state=process.client_state_type['method'],
      data=types.client_data_type(model),
      number=np.int32,
      first=np.int32,
      last=np.int32,
    )
  )

  @tff.tensorflow.computation(shared_type, person_type)
  def columns_of(shared, person):
    optimizer = process.parts.client_optimizer
    client = client_lib.Client(model, optimizer, person['data'], person['state'])
    own = slice(person['first'], person['last'])
    predict = predictor_of(server_half.server_of(shared['server']), client)
    found = columns.of(predict, shared['x'][own], shared['y'][own])
    row = tf.range(person['first'], person['last'])
    number = tf.fill([tf.size(row)], person['number'])
    return collections.OrderedDict(number=number, row=row, columns=found)

  @tff.federated_computation(
    tff.FederatedType(shared_type, tff.SERVER), tff.FederatedType(person_type, tff.CLIENTS)
  )
  def evaluate(shared, people):
    found = tff.federated_map(columns_of, (tff.federated_broadcast(shared), people))
    return stacking.join_at_server(found)

  return evaluate


def personal_evaluator(
  process: process_lib.FederatedProcess,
  clients: federated_data.Clients,
  settings: Settings,
  answers: bool = False,
) -> Optional[PersonalEvaluator]:
  """For methods whose clients predict differently; None for all others."""
  if not process.method.personal:
    return None
  return PersonalEvaluator(process, clients, settings, answers)


class ExampleSet:
  """Examples made ready to be evaluated many times.

  Attributes:
    size: number of examples.
    x: what is predicted from.
    labels: their y.
    slices: what the evaluation of one model takes.
  """

  def __init__(self, examples: federated_data.Examples):
    self.x = np.asarray(examples['x'])
    self.labels = np.asarray(examples['y'])
    self.size = len(self.labels)
    self.slices = runtime.stack_clients(
      [
        collections.OrderedDict(
          x=self.x[first:last], y=self.labels[first:last], first_row=np.int32(first)
        )
        for first, last in _cut(0, self.size, _SLICES)
      ]
    )


def _cut(begin: int, end: int, slices: int) -> list[tuple[int, int]]:
  """First and last row (exclusive) of so many slices at most.

  They are of whole steps, so that it does not depend on their number what is multiplied together.
  """
  rows = max(1, math.ceil((end - begin) / _EXAMPLES_PER_STEP / slices)) * _EXAMPLES_PER_STEP
  return [(first, min(first + rows, end)) for first in range(begin, end, rows)]

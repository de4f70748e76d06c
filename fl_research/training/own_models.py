"""Evaluation of models that clients have of their own, many of them in one call.

Each client plays its own part, and the examples go to all of them, as many as memory is there for:

    evaluate: (<server=…, x=…, y=…>@SERVER,
               {<state=…, data=…, number=int32, first=int32, last=int32>}@CLIENTS
               -> <number=int32[?], row=int32[?], columns=float32[?,k]>@SERVER)

`server` is the method's part of S, `state` what it keeps of a client, `data` the client's D, and
rows `first` to `last` (exclusive) are what it is evaluated on.
"""

import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Optional, Protocol

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import client_data, runtime
from fl_research.aggregation import stacking
from fl_research.datasets import federated_data
from fl_research.round import client as client_lib
from fl_research.round import method as method_lib
from fl_research.round import process as process_lib
from fl_research.round import server_half, types
from fl_research.settings import Settings
from fl_research.training import evaluation

_BYTES_AT_ONCE = 32 << 20


class _WatchedClient(client_lib.Client):
  """A client that notes whether anybody looks at its data, or that of a copy."""

  def __init__(self, *args: Any):
    self._looks: list[bool] = []
    super().__init__(*args)

  @property
  def data(self) -> Any:
    self._looks.append(True)
    return self._data

  @data.setter
  def data(self, data: Any) -> None:
    self._data = data

  @property
  def is_looked_at(self) -> bool:
    """Whether somebody has."""
    return bool(self._looks)


class PersonalColumns(Protocol):
  """Numbers per example of what clients would use."""

  def __call__(
    self,
    positions: Sequence[int],
    examples: evaluation.ExampleSet,
    sizes: Optional[np.ndarray] = None,
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
    self._columns = evaluation.Columns(process.parts.model, settings.evaluate_auc, answers)
    asked = predictor_of or process.method.predictor
    self._evaluate, looks_at_data = _evaluation(process, self._columns, asked)
    # Few methods look at examples to predict, and to read those takes longer than to predict.
    self._no_data = None if looks_at_data else _empty(types.client_data_type(process.parts.model))

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
          yield evaluation.by_name(self._columns.names, rows)

    return columns

  def _person(
    self, position: int, first: int, last: int, states: Optional[process_lib.ClientStates]
  ) -> Any:
    """What tells a client apart, and which rows of the examples are for it."""
    return collections.OrderedDict(
      state=states.get([position])[0]['method'] if states else (),
      data=self._data(position) if self._no_data is None else self._no_data,
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
    self, server: Any, people: Sequence[Any], examples: evaluation.ExampleSet
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
      for first, last in evaluation.cut(
        int(person['first']) - begin,
        int(person['last']) - begin,
        max(1, evaluation.SLICES // len(people)),
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


class OwnModels:
  """What clients use, and which of several models that is.

  Args:
    columns: evaluates what they use.
    choices: tells which it is; None where nobody asks.
  """

  def __init__(
    self,
    columns: PersonalEvaluator,
    choices: Optional[PersonalEvaluator] = None,
  ):
    self._columns = columns
    self._choices = choices

  def at(self, state: Any, client_states: Optional[process_lib.ClientStates]) -> 'OwnModelsAt':
    """The same as they stand."""
    choices = None if self._choices is None else self._choices.at(state, client_states)
    return OwnModelsAt(self._columns.at(state, client_states), choices)


class OwnModelsAt(NamedTuple):
  """What gives the numbers of `OwnModels` at a state; see `PersonalColumns`."""

  columns: PersonalColumns
  choices: Optional[PersonalColumns] = None


def _evaluation(
  process: process_lib.FederatedProcess,
  columns: evaluation.Columns,
  predictor_of: Callable[[Any, client_lib.Client], method_lib.Predictor],
) -> tuple[tff.Computation, bool]:
  """The computation of the module's docstring, and whether it looks at any client's D."""
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

  looks: list[bool] = []

  @tff.tensorflow.computation(shared_type, person_type)
  def columns_of(shared, person):
    optimizer = process.parts.client_optimizer
    client = _WatchedClient(model, optimizer, person['data'], person['state'])
    own = slice(person['first'], person['last'])
    predict = predictor_of(server_half.server_of(shared['server']), client)
    found = columns.of(predict, shared['x'][own], shared['y'][own])
    row = tf.range(person['first'], person['last'])
    number = tf.fill([tf.size(row)], person['number'])
    looks.append(client.is_looked_at)
    return collections.OrderedDict(number=number, row=row, columns=found)

  @tff.federated_computation(
    tff.FederatedType(shared_type, tff.SERVER), tff.FederatedType(person_type, tff.CLIENTS)
  )
  def evaluate(shared, people):
    found = tff.federated_map(columns_of, (tff.federated_broadcast(shared), people))
    return stacking.join_at_server(found)

  return evaluate, any(looks)


def _empty(data_type: tff.Type) -> Any:
  """A D of no examples."""
  specs = tff.types.type_to_tf_tensor_specs(data_type)
  none = lambda spec: np.zeros([size or 0 for size in spec.shape], spec.dtype.as_numpy_dtype)
  return tf.nest.map_structure(none, specs)

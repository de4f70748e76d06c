"""Evaluation of a model on examples, as a federated computation.

The examples are cut into a few slices that play the part of clients, so that evaluation runs on the
same runtime, and on several cores, as training does; each is gone through in small steps. What a
client's own model is made of, which may take as long as a round, is made once a slice:

    evaluate: (<C@SERVER, {<x=…, y=…, first_row=int32>}@CLIENTS>
               -> <row=int32[?], columns=float32[?,k]>@SERVER)

C is what predictions are made from: a model's weights, or a server's state with what one client
knows besides. It gives numbers per example (see `fl_research.models.objectives`), of which
`fl_research.metrics` makes metrics of the whole set or of every client.
"""

import collections
from collections.abc import Callable, Sequence
import math
from typing import Any, Optional

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


def build_evaluation(
  model: model_lib.Model,
  context_type: tff.Type,
  predictor_of: Callable[[Any], method_lib.Predictor],
  class_scores: bool = False,
  answers: bool = False,
) -> tuple[tff.Computation, list[str]]:
  """The computation of the module's docstring, and the names of its k columns.

  Args:
    model: the model, whose input and metrics it takes.
    context_type: C.
    predictor_of: from a C to what predicts.
    class_scores: whether the columns hold the probability of every class as well.
    answers: whether they hold the model's raw outputs instead, a column each.
  """
  x, y = model.input_spec
  tensor = lambda spec: tff.TensorType(spec.dtype.as_numpy_dtype, spec.shape)
  slice_type = tff.to_type(collections.OrderedDict(x=tensor(x), y=tensor(y), first_row=np.int32))
  names: list[str] = []

  @tff.tensorflow.computation(context_type, slice_type)
  def columns_of(context, examples):
    predict = predictor_of(context)

    def of_step(x, y):
      output = predict(x)
      columns = objectives.raw_outputs(output) if answers else model.example_metrics(output, y)
      if class_scores and not answers:
        columns.update(objectives.class_scores(output))
      names[:] = list(columns)
      return tf.stack(list(columns.values()), axis=1)

    columns = _in_steps(of_step, examples['x'], examples['y'])
    columns.set_shape([None, len(names)])
    rows = examples['first_row'] + tf.range(tf.shape(columns)[0])
    return collections.OrderedDict(row=rows, columns=columns)

  @tff.federated_computation(
    tff.FederatedType(context_type, tff.SERVER), tff.FederatedType(slice_type, tff.CLIENTS)
  )
  def evaluate(context, slices):
    columns = tff.federated_map(columns_of, (tff.federated_broadcast(context), slices))
    return stacking.join_at_server(columns)

  return evaluate, names


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


class _SliceEvaluator:
  """Runs an evaluation over all slices of a set, and puts the rows in order."""

  def __init__(self, evaluation: tuple[tff.Computation, list[str]]):
    self._evaluate, self._names = evaluation

  def columns(self, context: Any, examples: 'ExampleSet') -> dict[str, np.ndarray]:
    """Numbers per example, float32 [n] by name, in the order of the examples."""
    if not examples.size:
      return {name: np.zeros(0, np.float32) for name in self._names}
    joined = self._evaluate(context, examples.slices)
    values = np.asarray(joined['columns'])[np.argsort(np.asarray(joined['row']))]
    return {name: values[:, i] for i, name in enumerate(self._names)}


class Evaluator:
  """Evaluates weights on example sets.

  Args:
    model: the model.
    class_scores: whether the columns hold the probability of every class as well.
    answers: whether they hold the model's raw outputs instead.
  """

  def __init__(self, model: model_lib.Model, class_scores: bool = False, answers: bool = False):
    self.class_scores = class_scores
    weights = [tff.TensorType(w.dtype, w.shape) for w in model.initial_weights[0]]
    predict = lambda weights: lambda x: model.predict_on_batch((tuple(weights), ()), x, False)
    self._evaluator = _SliceEvaluator(
      build_evaluation(model, tff.to_type(weights), predict, class_scores, answers)
    )

  def columns(self, weights: Sequence[Any], examples: 'ExampleSet') -> dict[str, np.ndarray]:
    """Numbers per example, float32 [n] by name, in the order of the examples."""
    return self._evaluator.columns(list(weights), examples)


PersonalColumns = Callable[[int, 'ExampleSet'], dict[str, np.ndarray]]
"""(position of a training client, examples) -> numbers per example of what the client would use."""


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
    self._process = process
    self._clients = clients
    self._settings = settings
    model = process.parts.model
    person_type = collections.OrderedDict(
      server=process.start.type_signature.result.member['server'],
      state=process.client_state_type['method'],
      data=types.client_data_type(model),
    )

    asked = predictor_of or process.method.predictor

    def of_person(person):
      optimizer = process.parts.client_optimizer
      client = client_lib.Client(model, optimizer, person['data'], person['state'])
      return asked(server_half.server_of(person['server']), client)

    self._evaluator = _SliceEvaluator(
      build_evaluation(model, tff.to_type(person_type), of_person, settings.evaluate_auc, answers)
    )

  def at(self, state: Any, client_states: Optional[process_lib.ClientStates]) -> PersonalColumns:
    """The evaluation of clients as they stand: with S, and the T that they keep."""

    def columns(position: int, examples: 'ExampleSet') -> dict[str, np.ndarray]:
      person = collections.OrderedDict(
        server=state['server'],
        state=client_states.get([position])[0]['method'] if client_states else (),
        data=self._data(position),
      )
      return self._evaluator.columns(person, examples)

    return columns

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


class ExampleSet:
  """Examples made ready to be evaluated many times.

  Attributes:
    size: number of examples.
    labels: their y.
    slices: what the evaluation takes.
  """

  def __init__(self, examples: federated_data.Examples):
    self.labels = np.asarray(examples['y'])
    self.size = len(self.labels)
    # Whole steps, so that it does not depend on the number of slices what is multiplied together.
    rows = max(1, math.ceil(self.size / _EXAMPLES_PER_STEP / _SLICES)) * _EXAMPLES_PER_STEP
    self.slices = runtime.stack_clients(
      [
        collections.OrderedDict(
          x=examples['x'][first : first + rows],
          y=examples['y'][first : first + rows],
          first_row=np.int32(first),
        )
        for first in range(0, self.size, rows)
      ]
    )

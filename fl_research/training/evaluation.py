"""Evaluation of a model on examples, as a federated computation.

The examples are cut into a few slices that play the part of clients, so that evaluation runs on the
same runtime, and on several cores, as training does; each is gone through in small steps:

    evaluate: (<weights@SERVER, {<x=…, y=…, first_row=int32>}@CLIENTS>
               -> <row=int32[?], columns=float32[?,k]>@SERVER)

It gives numbers per example (see `fl_research.models.objectives`), of which `fl_research.metrics`
makes metrics of the whole set or of every client. For models that clients have of their own see
`fl_research.training.own_models`.
"""

import collections
from collections.abc import Callable, Sequence
import math
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import runtime
from fl_research.aggregation import stacking
from fl_research.datasets import federated_data
from fl_research.models import model as model_lib
from fl_research.models import objectives
from fl_research.round import method as method_lib

_EXAMPLES_PER_STEP = 256

SLICES = 4
"""Into so many, at most, the examples of one model are cut."""


class Columns:
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
    self._columns = Columns(model, class_scores, answers)
    self._evaluate = _evaluation(model, self._columns)

  def columns(self, weights: Sequence[Any], examples: 'ExampleSet') -> dict[str, np.ndarray]:
    """Numbers per example, float32 [n] by name, in the order of the examples."""
    names = self._columns.names
    if not examples.size:
      return by_name(names, np.zeros([0, len(names)], np.float32))
    joined = self._evaluate(list(weights), examples.slices)
    return by_name(names, np.asarray(joined['columns'])[np.argsort(np.asarray(joined['row']))])


def _evaluation(model: model_lib.Model, columns: Columns) -> tff.Computation:
  """The computation of the module's docstring."""
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


def by_name(names: Sequence[str], columns: np.ndarray) -> dict[str, np.ndarray]:
  """Columns [n, k] apart, float32 [n] by name."""
  return {name: columns[:, i] for i, name in enumerate(names)}


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
        for first, last in cut(0, self.size, SLICES)
      ]
    )


def cut(begin: int, end: int, slices: int) -> list[tuple[int, int]]:
  """First and last row (exclusive) of so many slices at most.

  They are of whole steps, so that it does not depend on their number what is multiplied together.
  """
  rows = max(1, math.ceil((end - begin) / _EXAMPLES_PER_STEP / slices)) * _EXAMPLES_PER_STEP
  return [(first, min(first + rows, end)) for first in range(begin, end, rows)]

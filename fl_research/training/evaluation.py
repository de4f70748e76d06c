"""Evaluation of a model on examples, as a federated computation.

The examples are cut into slices that play the part of clients, so that evaluation runs on the same
runtime, and on as many cores, as training:

    evaluate: (<float32[...]…@SERVER, {<x=…, y=…, first_row=int32>}@CLIENTS>
               -> <row=int32[?], columns=float32[?,k]>@SERVER)

It gives numbers per example (see `fl_research.models.objectives`), of which `fl_research.metrics`
makes metrics of the whole set or of every client.
"""

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import runtime
from fl_research.aggregation import stacking
from fl_research.datasets import federated_data
from fl_research.models import model as model_lib

_EXAMPLES_PER_SLICE = 256


def build_evaluation(model: model_lib.Model) -> tuple[tff.Computation, list[str]]:
  """The computation of the module's docstring, and the names of its k columns."""
  x, y = model.input_spec
  tensor = lambda spec: tff.TensorType(spec.dtype.as_numpy_dtype, spec.shape)
  weights_type = tff.to_type([tff.TensorType(w.dtype, w.shape) for w in model.initial_weights[0]])
  slice_type = tff.to_type(collections.OrderedDict(x=tensor(x), y=tensor(y), first_row=np.int32))
  names: list[str] = []

  @tff.tensorflow.computation(weights_type, slice_type)
  def columns_of(weights, examples):
    output = model.predict_on_batch((tuple(weights), ()), examples['x'], training=False)
    columns = model.example_metrics(output, examples['y'])
    names[:] = list(columns)
    rows = examples['first_row'] + tf.range(tf.shape(examples['x'])[0])
    return collections.OrderedDict(row=rows, columns=tf.stack(list(columns.values()), axis=1))

  @tff.federated_computation(
    tff.FederatedType(weights_type, tff.SERVER), tff.FederatedType(slice_type, tff.CLIENTS)
  )
  def evaluate(weights, slices):
    columns = tff.federated_map(columns_of, (tff.federated_broadcast(weights), slices))
    return stacking.join_at_server(columns)

  return evaluate, names


class Evaluator:
  """Evaluates weights on example sets.

  Args:
    model: the model.
  """

  def __init__(self, model: model_lib.Model):
    self._evaluate, self._names = build_evaluation(model)

  def columns(self, weights: Sequence[Any], examples: 'ExampleSet') -> dict[str, np.ndarray]:
    """Numbers per example, float32 [n] by name, in the order of the examples."""
    if not examples.size:
      return {name: np.zeros(0, np.float32) for name in self._names}
    joined = self._evaluate(list(weights), examples.slices)
    values = np.asarray(joined['columns'])[np.argsort(np.asarray(joined['row']))]
    return {name: values[:, i] for i, name in enumerate(self._names)}


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
    self.slices = runtime.stack_clients(
      [
        collections.OrderedDict(
          x=examples['x'][first : first + _EXAMPLES_PER_SLICE],
          y=examples['y'][first : first + _EXAMPLES_PER_SLICE],
          first_row=np.int32(first),
        )
        for first in range(0, self.size, _EXAMPLES_PER_SLICE)
      ]
    )

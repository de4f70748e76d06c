"""A user's `tff.learning.models.FunctionalModel` by the interface of our layers.

Its `predict_on_batch` and its first weights are used. What is trained is the problem's own loss, so
a model whose loss is another is refused.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.models import layers, objectives, outputs, purity
from fl_research.models.specification import ModelSpec
from fl_research.registry import UsageError

_WITHIN = 1e-4


class FunctionalNetwork(layers.Layer):
  """A functional model; weights that it does not train are constants. Made by `network`.

  Args:
    model: the model.
    spec: the data it is for.
  """

  kind = 'functional'

  def __init__(self, model: tff.learning.models.FunctionalModel, spec: ModelSpec):
    self._model = model
    self._spec = spec
    self._structure, self._constants = model.initial_weights
    self._initial = [np.asarray(weight, np.float32) for weight in tf.nest.flatten(self._structure)]
    self._traced = purity.NOTHING

  @property
  def weight_names(self):
    return tuple(f'weight_{index + 1}/value' for index in range(len(self._initial)))

  @property
  def needs_seed(self):
    return self._traced.draws

  @property
  def pools(self):
    return self._traced.pools

  def initialise(self, shape, generator):
    return list(self._initial), shape

  @tf.autograph.experimental.do_not_convert
  def __call__(self, weights, x, seed=None):
    given = (tf.nest.pack_sequence_as(self._structure, list(weights)), self._constants)
    answers = self._model.predict_on_batch(given, x, seed is not None)
    return outputs.raw(answers, self._spec.problem) if not tf.executing_eagerly() else answers

  def keras(self, weights, x, name):
    raise NotImplementedError('a functional model has no Keras twin')

  def examine(self, flag: str) -> None:
    """Traces the model once each way, and refuses what is no pure function."""
    self._traced = purity.examine(flag, self, self._initial, self._spec)

  def adds_loss(self) -> str:
    """Nothing: a functional model has but one loss."""
    return ''

  def owner_of(self, node: str) -> str:
    """Nothing, as it has no layers."""
    del node
    return ''

  def loss(self, output: tf.Tensor, label: tf.Tensor) -> Any:
    """The model's own loss."""
    return self._model.loss(output, label)


def network(
  flag: str, model: tff.learning.models.FunctionalModel, spec: ModelSpec
) -> FunctionalNetwork:
  """A functional model as a network of ours.

  Raises:
    UsageError: it does not fit the data, is not pure, or has another loss than its problem.
  """
  x = model.input_spec[0]
  if not isinstance(x, tf.TensorSpec) or not x.shape[1:].is_compatible_with(spec.input_shape):
    raise UsageError(f'{flag}: its input_spec is {x}, and the data are {spec.describe()}')
  found = FunctionalNetwork(model, spec)
  found.examine(flag)
  _check_loss(flag, found, spec)
  return found


def _check_loss(flag: str, found: FunctionalNetwork, spec: ModelSpec) -> None:
  """Compares the model's loss with the problem's on outputs and labels that are drawn."""
  generator = np.random.default_rng(0)
  label = generator.integers(0, max(spec.num_classes, 2), (4, *spec.label_shape))
  if spec.label_dtype == np.float32:
    label = label % 2
  shape: Sequence[int] = (*spec.label_shape, spec.output_units)
  if spec.label_dtype == np.float32 and spec.label_shape:
    shape = spec.label_shape
  with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    output = tf.constant(generator.standard_normal((4, *shape)), tf.float32)
    truth = tf.constant(label, spec.label_dtype)
    ours = objectives.mean_loss(objectives.example_columns(spec.problem, output, truth))
    theirs, wanted = session.run([tf.cast(found.loss(output, truth), tf.float32), ours])
  if abs(theirs - wanted) > _WITHIN * abs(wanted):
    raise UsageError(
      f'{flag}: its loss is {theirs:.4g} where that of {spec.problem.value} is {wanted:.4g} (on '
      'raw outputs, logits, and labels that were drawn); only the latter is trained'
    )

"""A `tff.learning.models.FunctionalModel` without variables and without Keras inside."""

from collections import OrderedDict
from collections.abc import Sequence
import copy
import functools
from typing import Any, Optional

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import metrics, random_streams
from fl_research.models import frozen as frozen_lib
from fl_research.models import initializers, objectives
from fl_research.models import layers as layers_lib
from fl_research.models.specification import ModelSpec

ModelWeights = tuple[tuple[Any, ...], tuple[()]]
"""(trainable, non-trainable) weights; no model of this library has non-trainable ones."""


def _flat(numbers: np.ndarray) -> np.ndarray:
  """float32 [k], which goes with predictions [n, k]."""
  return np.asarray(numbers, np.float32).reshape(-1)


def first_weights(
  network: layers_lib.Layer, spec: ModelSpec, seed: int, initializer: str = ''
) -> list[np.ndarray]:
  """What a network begins with, as a function of the run's seed."""
  generator = random_streams.generator(seed, 'initial weights')
  weights, _ = network.initialise(spec.input_shape, generator)
  if not initializer:
    return weights
  generator = random_streams.generator(seed, 'initializer')
  return initializers.redraw(initializer, network.weight_names, weights, generator)


class Model(tff.learning.models.FunctionalModel):
  """A network, and the loss and metrics of its problem, as pure functions.

  It can be used in any TFF process that takes a functional model, and in any `tf.function`: the
  functions create no variable, and nothing is read from Python state while they run.

  Args:
    network: the layers.
    spec: the data the model is for.
    seed: the run's seed, which fixes the initial weights.
    initializer: how kernels are drawn, one of `initializers.INITIALIZERS`; as the network has it
      when empty.
    start: the weights to begin with; drawn when None.
    frozen: for each weight whether it stays as it is, so that it is none of the model's (see
      `frozen`).

  Attributes:
    sums_squared_loss: whether training also sums the examples' squared losses.
  """

  sums_squared_loss = False

  def __init__(
    self,
    network: layers_lib.Layer,
    spec: ModelSpec,
    seed: int,
    initializer: str = '',
    start: Optional[Sequence[np.ndarray]] = None,
    frozen: Sequence[bool] = (),
  ):
    weights = first_weights(network, spec, seed, initializer) if start is None else start
    if any(frozen):
      network = frozen_lib.Frozen(network, weights, frozen)
      weights = network.trained(weights)
    self._network = network
    self._spec = spec
    plain = functools.partial(tf.function, autograph=False)
    super().__init__(
      initial_weights=(tuple(weights), ()),
      predict_on_batch_fn=plain(self.predict_on_batch),
      loss_fn=self.loss,
      metrics_fns=(
        plain(self._zero_sums),
        plain(self._add_sums),
        plain(self._finalise),
      ),
      input_spec=(
        tf.TensorSpec([None, *spec.input_shape], spec.x_dtype),
        tf.TensorSpec([None, *spec.label_shape], spec.label_dtype),
      ),
    )

  @property
  def spec(self) -> ModelSpec:
    """The data the model is for."""
    return self._spec

  @property
  def weight_names(self) -> tuple[str, ...]:
    """Name of each trainable weight, `<layer>/<weight>`, e.g. `dense_1/kernel`.

    Names depend only on the architecture; the weights of one layer stand together.
    """
    return self._network.weight_names

  @property
  def num_parameters(self) -> int:
    """Number of trainable numbers."""
    return sum(weight.size for weight in self.initial_weights[0])

  def summing_squared_loss(self) -> 'Model':
    """The same model, of which training also sums the squared losses."""
    model = copy.copy(self)
    model.sums_squared_loss = True
    return model

  @property
  def needs_seed(self) -> bool:
    """Whether `predict_on_batch` wants a seed in training, because the model uses dropout."""
    return self._network.needs_seed

  @property
  def pools(self) -> bool:
    """Whether the model takes a maximum over windows."""
    return self._network.pools

  # Not a tf.function, unlike TFF's own: it is called inside one anyway, and a function within a
  # function would only add calls to every training step.
  def predict_on_batch(
    self,
    model_weights: ModelWeights,
    x: tf.Tensor,
    training: bool = True,
    seed: Optional[tf.Tensor] = None,
  ) -> tf.Tensor:
    """Raw outputs for a batch: logits, or predictions of regression and reconstruction.

    Numbers that have a unit (`ModelSpec.label_scale`) are predicted in it.

    Args:
      model_weights: `(trainable, ())`, as `initial_weights`.
      x: [n, ...].
      training: whether dropout, where the model has any, is on.
      seed: int32 [2], the source of dropout's draws; another one for every step. Without one,
        nothing is dropped.
    """
    x = tf.convert_to_tensor(x)
    return self._in_its_unit(self._network(tuple(model_weights[0]), x, seed if training else None))

  def features_on_batch(
    self,
    model_weights: ModelWeights,
    x: tf.Tensor,
    training: bool = True,
    seed: Optional[tf.Tensor] = None,
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """What the last layer is given, float32 [n, d], and the output; as `predict_on_batch`.

    Raises:
      NotImplementedError: the network is none whose last layer can be told, or it is given
        something else than a vector for each example.
    """
    x = tf.convert_to_tensor(x)
    own = seed if training else None
    features, output = self._network.with_features(tuple(model_weights[0]), x, own)
    if len(features.shape) != 2:
      raise NotImplementedError('the last layer is given more than a vector for each example')
    return features, self._in_its_unit(output)

  def _in_its_unit(self, output: tf.Tensor) -> tf.Tensor:
    scale = self._spec.label_scale
    return output if scale is None else output * _flat(scale.deviation) + _flat(scale.mean)

  def loss(
    self, output: tf.Tensor, label: tf.Tensor, sample_weight: Optional[tf.Tensor] = None
  ) -> tf.Tensor:
    """What training descends, weighted by what each example counts; see `objectives.mean_loss`."""
    return objectives.mean_loss(self.example_metrics(output, label), sample_weight)

  def example_metrics(self, output: tf.Tensor, label: tf.Tensor) -> OrderedDict[str, tf.Tensor]:
    """Numbers per example, float32 [n] each, `num` and `loss` first; see `objectives`."""
    spec = self._spec
    deviation = None if spec.label_scale is None else spec.label_scale.deviation
    return objectives.example_columns(spec.problem, output, label, deviation, spec.class_weights)

  def keras_model(self, model_weights: Optional[ModelWeights] = None) -> tf.keras.Model:
    """A model of stock Keras layers with these weights (default: the initial ones).

    Its output equals `predict_on_batch` of evaluation. Saved, it opens with
    `tf.keras.models.load_model` and nothing else. Of a Keras model of the user's own it is that
    model; of a functional one there is none.

    Raises:
      NotImplementedError: there is none.
    """
    weights = self.initial_weights if model_weights is None else model_weights
    spec = self._spec
    model = self._network.keras_model(tuple(weights[0]), spec.input_shape, spec.x_dtype)
    if spec.label_scale is None:
      return model
    deviation, mean = (
      _flat(n).tolist() for n in (spec.label_scale.deviation, spec.label_scale.mean)
    )
    rescaled = tf.keras.layers.Rescaling(deviation, mean, name='own_units')(model.output)
    return tf.keras.Model(model.inputs, rescaled)

  def named_weights(self, weights: Sequence[Any]) -> dict[str, Any]:
    """All weights by name, those that are frozen too, from the trainable ones."""
    return self._network.saved(weights)

  def _zero_sums(self) -> OrderedDict[str, tf.Tensor]:
    """The state of TFF's training metrics: sums of the columns that can be summed."""
    return OrderedDict((name, tf.constant(0.0)) for name in self._sum_names())

  def _sum_names(self) -> tuple[str, ...]:
    """Names of the columns whose sums are metrics."""
    return metrics.sum_names(self._spec.problem, self._spec.num_classes)

  def _add_sums(self, state, labels, batch_output, sample_weight=None):
    """Adds a batch to the sums."""
    columns = self.example_metrics(batch_output.predictions, labels)
    s = 1.0 if sample_weight is None else sample_weight
    return OrderedDict(
      (name, value + tf.math.reduce_sum(columns[name] * s)) for name, value in state.items()
    )

  def _finalise(self, state):
    """Metrics from the sums, in TensorFlow."""
    return OrderedDict(
      (name, tf.math.divide_no_nan(state[name], state[denominator]))
      for name, denominator in metrics.ratios(state).items()
    )

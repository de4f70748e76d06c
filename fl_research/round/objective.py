"""What local steps descend: the loss, and whatever a method makes of it.

A method that changes what clients minimise gives the loop (`local_training`) an objective; it needs
no loop of its own. A term that depends on the weights alone is `Loss(model).plus(term)`, one that
no step changes `Loss(model).plus_constant(tensors)`; anything else (gradients at several points,
examples seen through another model, an average that is carried from step to step) is a subclass of
`Objective`.
"""

import abc
from collections.abc import Callable, Mapping
import functools
from typing import Any, NamedTuple, Optional, Union

import tensorflow as tf
import tensorflow_federated as tff

from fl_research import metrics
from fl_research.models import model as model_lib
from fl_research.models import objectives
from fl_research.round.minibatches import Batch
from fl_research.round.structures import Weights

Term = Callable[[Weights], Weights]
"""Current weights -> what is added to the gradient before it is given to the optimiser."""

Factor = Union[float, tf.Tensor]
"""A number, perhaps one that only the graph knows: float32 []."""

LossOfExamples = Callable[[tf.Tensor, Batch], tf.Tensor]
"""The model's raw outputs, the batch -> float32 [n], the loss of each example.

Of features: what the last layer is given, [n, d], in place of the outputs.
"""


class Gradient(NamedTuple):
  """What an objective says of one batch.

  Attributes:
    gradient: shaped like the weights; what the optimiser gets.
    columns: float32 [k, n], the metric columns of the batch (see `loss_gradient`).
    carry: what the objective is given at the next step.
  """

  gradient: Weights
  columns: tf.Tensor
  carry: Any


class Objective(abc.ABC):
  """What local steps descend."""

  def initial_carry(self, weights: Weights) -> Any:
    """What is carried from step to step, before the first: tensors, by default none."""
    del weights
    return ()

  @abc.abstractmethod
  def gradient(
    self, weights: Weights, batch: Batch, seed: Optional[tf.Tensor], carry: Any
  ) -> Gradient:
    """The gradient at these weights.

    Args:
      weights: the current weights.
      batch: the step's examples.
      seed: int32 [2], the source of the step's draws; None for models that draw nothing.
      carry: what the step before has left.
    """

  def plus(self, term: Term) -> 'Objective':
    """This objective with a term added to its gradient."""
    return _Sum(self, term)

  def plus_constant(self, term: Weights) -> 'Objective':
    """This objective with a term added to its gradient that is the same at all weights."""
    return _Shifted(self, term)

  def times(self, factor: Factor) -> 'Objective':
    """This objective times a number; overridden where that costs less than multiplying gradients.

    The loop takes its objective times the rate of plain SGD before the first step: what does not
    change from step to step is multiplied there, once.
    """
    return _Product(self, factor)


class Loss(Objective):
  """The batch's mean loss: what FedAvg descends.

  Args:
    model: the model.
    of_examples: another loss of each example, from what the model makes of them; metrics are not
      changed by it. The model's own when None.
    of_features: a loss of each example's features, which is added; none when None.
  """

  def __init__(
    self,
    model: model_lib.Model,
    of_examples: Optional[LossOfExamples] = None,
    of_features: Optional[LossOfExamples] = None,
  ):
    self._gradient = functools.partial(
      loss_gradient, model, of_examples=of_examples, of_features=of_features
    )

  def gradient(self, weights, batch, seed, carry):
    return Gradient(*self._gradient(weights, batch, seed), carry)

  def times(self, factor):
    # The loss has a number for each example where the gradient has one for each weight: multiplied
    # there, the factor costs nothing.
    return _ScaledLoss(self._gradient, factor)


class _ScaledLoss(Objective):
  """The batch's mean loss times a number.

  Args:
    gradient: `loss_gradient` of a model.
    factor: the number.
  """

  def __init__(self, gradient: Callable[..., tuple[Weights, tf.Tensor]], factor: Factor):
    self._gradient = gradient
    self._factor = factor

  def gradient(self, weights, batch, seed, carry):
    return Gradient(*self._gradient(weights, batch, seed, self._factor), carry)

  def times(self, factor):
    return _ScaledLoss(self._gradient, self._factor * factor)


class _Around(Objective):
  """An objective made of another one, whose carry it has.

  Args:
    objective: the other one.
  """

  def __init__(self, objective: Objective):
    self._objective = objective

  def initial_carry(self, weights):
    return self._objective.initial_carry(weights)


class _Sum(_Around):
  """An objective plus a term of the weights."""

  def __init__(self, objective: Objective, term: Term):
    super().__init__(objective)
    self._term = term

  def gradient(self, weights, batch, seed, carry):
    found = self._objective.gradient(weights, batch, seed, carry)
    return found._replace(gradient=_added(found.gradient, self._term(weights)))

  def times(self, factor):
    return _Sum(self._objective.times(factor), lambda weights: _times(factor, self._term(weights)))


class _Shifted(_Around):
  """An objective plus a term that no step changes."""

  def __init__(self, objective: Objective, term: Weights):
    super().__init__(objective)
    self._term = term

  def gradient(self, weights, batch, seed, carry):
    found = self._objective.gradient(weights, batch, seed, carry)
    return found._replace(gradient=_added(found.gradient, self._term))

  def times(self, factor):
    return _Shifted(self._objective.times(factor), _times(factor, self._term))


class _Product(_Around):
  """An objective times a number."""

  def __init__(self, objective: Objective, factor: Factor):
    super().__init__(objective)
    self._factor = factor

  def gradient(self, weights, batch, seed, carry):
    found = self._objective.gradient(weights, batch, seed, carry)
    return found._replace(gradient=_times(self._factor, found.gradient))

  def times(self, factor):
    return _Product(self._objective, self._factor * factor)


def _added(first: Weights, second: Weights) -> Weights:
  return tuple(a + b for a, b in zip(first, second, strict=True))


def _times(factor: Factor, tensors: Weights) -> Weights:
  return tuple(factor * tensor for tensor in tensors)


def loss_gradient(
  model: model_lib.Model,
  weights: Weights,
  one_batch: Batch,
  seed: Optional[tf.Tensor],
  factor: Optional[Factor] = None,
  of_examples: Optional[LossOfExamples] = None,
  of_features: Optional[LossOfExamples] = None,
) -> tuple[Weights, tf.Tensor]:
  """The gradient of the batch's mean loss, times `factor` if given, and its metric columns.

  `seed`, int32 [2], is the source of dropout; None for models without. The columns are float32
  [k, n], a row for each of `metric_names` and a column for each example, zero for padding.
  """
  compute = functools.partial(_loss_gradient, model, of_examples, of_features)
  return out_of_the_loop(model, compute)(weights, one_batch, seed, factor)


def out_of_the_loop(model: model_lib.Model, compute: Callable[..., Any]) -> Callable[..., Any]:
  """What computes gradients of the model, such that they are fast in the graph of a loop."""
  if not model.pools:
    return compute
  # oneDNN's gradient of a maximum over windows takes a tenth of the time of TensorFlow's own, but
  # TensorFlow puts it in only where it meets the maximum before its gradient, which in the graph
  # of a loop is left to chance. A function that is not inlined is a graph without a loop.
  return tf.function(compute, autograph=False, experimental_attributes={'_noinline': True})


def _loss_gradient(
  model: model_lib.Model,
  of_examples: Optional[LossOfExamples],
  of_features: Optional[LossOfExamples],
  weights: Weights,
  one_batch: Batch,
  seed: Optional[tf.Tensor],
  factor: Optional[Factor],
) -> tuple[Weights, tf.Tensor]:
  with tf.GradientTape() as tape:
    tape.watch(weights)
    if of_features:
      features, output = model.features_on_batch((weights, ()), one_batch.x, True, seed)
    else:
      output = model.predict_on_batch((weights, ()), one_batch.x, True, seed)
    columns = model.example_metrics(output, one_batch.y)
    losses = of_examples(output, one_batch) if of_examples else objectives.objective(columns)
    if of_features:
      losses += of_features(features, one_batch)
  # The mean loss is the sum of every example's loss times its share, which no weight changes.
  share = tf.math.divide_no_nan(one_batch.mask, tf.reduce_sum(columns['num'] * one_batch.mask))
  if factor is not None:
    share *= factor
  gradient = tape.gradient(
    losses,
    weights,
    output_gradients=share,
    unconnected_gradients=tf.UnconnectedGradients.ZERO,
  )
  gradient = tff.learning.optimizers.handle_indexed_slices_gradients(gradient)
  return gradient, metrics_of_examples(model, columns, one_batch.mask)


def metrics_of_examples(
  model: model_lib.Model, columns: Mapping[str, tf.Tensor], mask: tf.Tensor
) -> tf.Tensor:
  """What is summed during training, float32 [names, n], with padding as 0.

  Args:
    model: the model.
    columns: its `example_metrics`.
    mask: 1 for an example, 0 for padding.
  """
  columns = dict(columns)
  if model.sums_squared_loss:
    # Of examples that count as several, tokens, each as their mean.
    columns[metrics.SQUARED_LOSS] = tf.math.divide_no_nan(columns['loss'] ** 2, columns['num'])
  return tf.stack([columns[name] for name in metric_names(model)]) * mask


def metric_names(model: model_lib.Model) -> tuple[str, ...]:
  """Names of the metric columns that are summed during training, in order."""
  names = metrics.sum_names(model.spec.problem, model.spec.num_classes)
  return (*names, metrics.SQUARED_LOSS) if model.sums_squared_loss else names

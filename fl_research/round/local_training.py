"""What happens on a client: passes over its batches, as TensorFlow functions of weights and data.

Everything here is functional (weights in, weights out, no variables), which is what lets a runtime
put the work of many clients into one graph.
"""

import collections
from collections.abc import Callable, Sequence
import functools
from typing import Any, NamedTuple, Optional

import tensorflow as tf
import tensorflow_federated as tff

from fl_research import metrics
from fl_research.models import model as model_lib
from fl_research.optimizers import restricted_optimizer

Weights = tuple[tf.Tensor, ...]
Correction = Callable[[Weights], Weights]
"""Current weights -> what is added to the gradient before it is given to the optimiser."""


class Batch(NamedTuple):
  """One minibatch: examples `x`, labels `y`, and `mask`, 1.0 for examples and 0.0 for padding."""

  x: tf.Tensor
  y: tf.Tensor
  mask: tf.Tensor


class LocalResult(NamedTuple):
  """What a pass over a client's batches gives.

  Attributes:
    weights: the weights after the last step.
    num_steps: int32, number of optimiser steps taken.
    sums: the model's metric columns (`num`, `loss`, `accuracy`, …) summed over all examples as
      they were visited, each measured before the step that used it.
  """

  weights: Weights
  num_steps: tf.Tensor
  sums: collections.OrderedDict


def num_steps(data: Any) -> tf.Tensor:
  """The number of batches with at least one example; rows of padding come after them."""
  return tf.reduce_sum(tf.cast(tf.reduce_any(data['batches'] >= 0, axis=1), tf.int32))


def steps_per_pass(data: Any) -> tf.Tensor:
  """The number of batches of one whole pass over the client's examples: ceil(n / B)."""
  batch_size = tf.maximum(tf.shape(data['batches'])[1], 1)
  return (data['num_examples'] + batch_size - 1) // batch_size


def first_pass(data: Any) -> Any:
  """The same D with the batches of its first pass only, for what needs each example once."""
  return collections.OrderedDict(data, batches=data['batches'][: steps_per_pass(data)])


class Minibatches:
  """A client's minibatches by step. What a loop need not do in every step is done here, once."""

  def __init__(self, data: Any):
    self._examples = data['examples']
    self._rows = tf.maximum(data['batches'], 0)
    self._masks = tf.cast(data['batches'] >= 0, tf.float32)

  def __getitem__(self, step: tf.Tensor) -> Batch:
    # Gathers, because a tensor's `[step]` is four operations.
    rows, mask = tf.gather(self._rows, step), tf.gather(self._masks, step)
    return Batch(tf.gather(self._examples['x'], rows), tf.gather(self._examples['y'], rows), mask)


def loss_gradient(
  model: model_lib.Model,
  weights: Weights,
  one_batch: Batch,
  seed: Optional[tf.Tensor],
  factor: Optional[tf.Tensor] = None,
) -> tuple[Weights, tf.Tensor]:
  """The gradient of the batch's mean loss, times `factor` if given, and its metric columns.

  `seed`, int32 [2], is the source of dropout; None for models without. The columns are float32
  [k, n], a row for each of `metric_names` and a column for each example, zero for padding.
  """
  compute = functools.partial(_loss_gradient, model)
  if model.pools:
    # oneDNN's gradient of a maximum over windows takes a tenth of the time of TensorFlow's own, but
    # TensorFlow puts it in only where it meets the maximum before its gradient, which in the graph
    # of a loop is left to chance. A function that is not inlined is a graph without a loop.
    compute = tf.function(compute, autograph=False, experimental_attributes={'_noinline': True})
  return compute(weights, one_batch, seed, factor)


def _loss_gradient(
  model: model_lib.Model,
  weights: Weights,
  one_batch: Batch,
  seed: Optional[tf.Tensor],
  factor: Optional[tf.Tensor],
) -> tuple[Weights, tf.Tensor]:
  with tf.GradientTape() as tape:
    tape.watch(weights)
    output = model.predict_on_batch((weights, ()), one_batch.x, True, seed)
    columns = model.example_metrics(output, one_batch.y)
  # The mean loss is the sum of every example's loss times its share, which no weight changes.
  share = tf.math.divide_no_nan(one_batch.mask, tf.reduce_sum(columns['num'] * one_batch.mask))
  if factor is not None:
    share *= factor
  gradient = tape.gradient(
    columns['loss'],
    weights,
    output_gradients=share,
    unconnected_gradients=tf.UnconnectedGradients.ZERO,
  )
  gradient = tff.learning.optimizers.handle_indexed_slices_gradients(gradient)
  stacked = tf.stack([columns[name] for name in metric_names(model)])
  return gradient, stacked * one_batch.mask


def step_seed(model: model_lib.Model, data: Any, step: tf.Tensor) -> Optional[tf.Tensor]:
  """The seed of one step's dropout: a function of (run's seed, round, client, step)."""
  if not model.needs_seed:
    return None
  return tf.random.experimental.stateless_fold_in(data['seed'], step)


def metric_names(model: model_lib.Model) -> tuple[str, ...]:
  """Names of the metric columns that are summed during training, in order."""
  return metrics.sum_names(model.spec.problem, model.spec.num_classes)


def _no_columns(model: model_lib.Model, data: Any) -> tf.Tensor:
  """The metric columns of a batch of padding."""
  return tf.zeros([len(metric_names(model)), tf.shape(data['batches'])[1]])


def _sums(model: model_lib.Model, columns: tf.Tensor) -> collections.OrderedDict:
  """The sum of each metric column, by name."""
  return collections.OrderedDict(
    zip(metric_names(model), tf.unstack(tf.reduce_sum(columns, axis=1)))
  )


def train_locally(
  model: model_lib.Model,
  optimizer: tff.learning.optimizers.Optimizer,
  weights: Weights,
  data: Any,
  *,
  learning_rate_factor: tf.Tensor,
  correction: Optional[Correction] = None,
  trainable: Optional[Sequence[bool]] = None,
  passes: int = 0,
) -> LocalResult:
  """Runs an optimiser over a client's batches (McMahan et al. 2017, algorithm 1, ClientUpdate).

  Args:
    model: the model; gives loss and metrics.
    optimizer: the client optimiser; starts from its initial state.
    weights: where training starts.
    data: one client's D (see `fl_research.client_data`).
    learning_rate_factor: float32, the schedule's factor of this round.
    correction: what a method adds to the gradient; nothing when None.
    trainable: which weights the optimiser moves, the others stay as they are; all when None.
    passes: if above 0, so many passes over the client's examples are made, whatever the length of
      `data.batches`, which is read from its beginning again once it is used up.
  """
  chosen = [i for i in range(len(weights)) if trainable is None or trainable[i]]
  if isinstance(optimizer, restricted_optimizer.RestrictedOptimizer):
    optimizer = optimizer.for_weights(chosen)
  specs = tuple(tf.TensorSpec(weights[i].shape, weights[i].dtype) for i in chosen)
  optimizer_state = scale_learning_rate(
    optimizer, optimizer.initialize(specs), learning_rate_factor
  )
  rate = None
  if _is_plain_sgd(optimizer):
    rate = optimizer.get_hparams(optimizer_state)[tff.learning.optimizers.LEARNING_RATE_KEY]
  minibatches = Minibatches(data)
  available = num_steps(data)
  steps = passes * steps_per_pass(data) if passes else available

  def step(index, weights, optimizer_state, columns):
    row = index % available if passes else index
    gradient, more = loss_gradient(
      model, weights, minibatches[row], step_seed(model, data, index), rate
    )
    if correction is not None:
      added = correction(weights)
      if rate is not None:
        added = tuple(rate * tensor for tensor in added)
      gradient = tuple(g + a for g, a in zip(gradient, added, strict=True))
    before, gradient = tuple(weights[i] for i in chosen), tuple(gradient[i] for i in chosen)
    if rate is None:
      optimizer_state, moved = optimizer.next(optimizer_state, before, gradient)
    else:
      moved = subtract(before, gradient)
    new = dict(zip(chosen, moved))
    weights = tuple(new.get(i, w) for i, w in enumerate(weights))
    return index + 1, weights, optimizer_state, columns + more

  _, weights, _, columns = tf.while_loop(
    lambda index, *_: index < steps,
    step,
    (tf.constant(0), tuple(weights), optimizer_state, _no_columns(model, data)),
    parallel_iterations=1,
  )
  return LocalResult(weights, steps, _sums(model, columns))


def mean_gradient(
  model: model_lib.Model, weights: Weights, data: Any
) -> tuple[Weights, collections.OrderedDict]:
  """The gradient of the mean loss over all examples that `data` names, at fixed weights.

  Batches only bound memory here: their gradients are added up by the examples (or tokens) in them.
  """
  zero = tuple(tf.zeros_like(w) for w in weights)
  minibatches = Minibatches(data)
  steps = num_steps(data)

  def step(index, total, columns):
    gradient, more = loss_gradient(
      model, weights, minibatches[index], step_seed(model, data, index)
    )
    count = _sums(model, more)['num']
    total = tuple(t + count * g for t, g in zip(total, gradient, strict=True))
    return index + 1, total, columns + more

  _, total, columns = tf.while_loop(
    lambda index, *_: index < steps,
    step,
    (tf.constant(0), zero, _no_columns(model, data)),
    parallel_iterations=1,
  )
  sums = _sums(model, columns)
  return tuple(tf.math.divide_no_nan(t, sums['num']) for t in total), sums


def _is_plain_sgd(optimizer: tff.learning.optimizers.Optimizer) -> bool:
  """Whether a step is w - ηg and no more, so that η may be a factor of the loss.

  The loss has a number for each example where the gradient has one for each weight: multiplied
  there, η costs nothing.
  """
  if not isinstance(optimizer, type(tff.learning.optimizers.build_sgdm(0.0))):
    return False
  hparams = optimizer.get_hparams(optimizer.initialize(()))
  return list(hparams) == [tff.learning.optimizers.LEARNING_RATE_KEY]


def scale_learning_rate(
  optimizer: tff.learning.optimizers.Optimizer, state: Any, factor: tf.Tensor
) -> Any:
  """The optimiser's state with its learning rate multiplied by a schedule's factor."""
  hparams = optimizer.get_hparams(state)
  key = tff.learning.optimizers.LEARNING_RATE_KEY
  hparams[key] = hparams[key] * factor
  return optimizer.set_hparams(state, hparams)


def hyperparameters(
  optimizer: tff.learning.optimizers.Optimizer, weights: Weights, factor: tf.Tensor
) -> Any:
  """What the optimiser will use in this round, by TFF's names: `learning_rate`, `momentum`, …."""
  specs = tuple(tf.TensorSpec(w.shape, w.dtype) for w in weights)
  return optimizer.get_hparams(scale_learning_rate(optimizer, optimizer.initialize(specs), factor))


def subtract(first: Weights, second: Weights) -> Weights:
  """first - second, tensor by tensor."""
  return tuple(a - b for a, b in zip(first, second, strict=True))


def all_finite(structure: Any) -> tf.Tensor:
  """Whether no number of a structure is infinite or NaN: bool []."""
  numbers = [tensor for tensor in tf.nest.flatten(structure) if tensor.dtype.is_floating]
  finite = [tf.reduce_all(tf.math.is_finite(tensor)) for tensor in numbers]
  return tf.reduce_all(tf.stack(finite)) if finite else tf.constant(True)

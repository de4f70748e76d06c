"""What happens on a client: passes over its batches, as TensorFlow functions of weights and data.

Everything here is functional (weights in, weights out, no variables), which is what lets a runtime
put the work of many clients into one graph.
"""

import collections
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import tensorflow as tf
import tensorflow_federated as tff

from fl_research.models import model as model_lib
from fl_research.models import objectives
from fl_research.optimizers import restricted_optimizer
from fl_research.round import minibatches as minibatches_lib
from fl_research.round import objective as objective_lib
from fl_research.round.objective import metric_names
from fl_research.round.structures import subtract, Weights


class Trained(NamedTuple):
  """What a client's passes over its batches give.

  Attributes:
    weights: the weights after the last step.
    num_steps: int32, number of optimiser steps taken.
    sums: the model's metric columns (`num`, `loss`, `accuracy`, …) summed over all examples as
      they were visited, each measured before the step that used it.
    carry: what the objective left after the last step.
  """

  weights: Weights
  num_steps: tf.Tensor
  sums: collections.OrderedDict
  carry: Any = ()


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
  objective: Optional[objective_lib.Objective] = None,
  trainable: Optional[Sequence[bool]] = None,
  passes: int = 0,
) -> Trained:
  """Runs an optimiser over a client's batches (McMahan et al. 2017, algorithm 1, ClientUpdate).

  Args:
    model: the model; gives loss and metrics.
    optimizer: the client optimiser; starts from its initial state.
    weights: where training starts.
    data: one client's D (see `fl_research.client_data`).
    learning_rate_factor: float32, the schedule's factor of this round.
    objective: what is descended; the model's loss when None.
    trainable: which weights the optimiser moves, the others stay as they are; all when None.
    passes: if above 0, so many passes over the client's examples are made, whatever the length of
      `data.batches`, which is read from its beginning again once it is used up.
  """
  objective = objective or objective_lib.Loss(model)
  chosen = [i for i in range(len(weights)) if trainable is None or trainable[i]]
  if isinstance(optimizer, restricted_optimizer.RestrictedOptimizer):
    optimizer = optimizer.for_weights(chosen)
  specs = tuple(tf.TensorSpec(weights[i].shape, weights[i].dtype) for i in chosen)
  optimizer_state = scale_learning_rate(
    optimizer, optimizer.initialize(specs), learning_rate_factor
  )
  is_plain = _is_plain_sgd(optimizer)
  if is_plain:
    hparams = optimizer.get_hparams(optimizer_state)
    objective = objective.times(hparams[tff.learning.optimizers.LEARNING_RATE_KEY])
  minibatches = minibatches_lib.Minibatches(data)
  available = minibatches_lib.num_steps(data)
  steps = passes * minibatches_lib.steps_per_pass(data) if passes else available

  def step(index, weights, optimizer_state, carry, columns):
    row = index % available if passes else index
    seed = minibatches_lib.step_seed(model, data, index)
    found = objective.gradient(weights, minibatches[row], seed, carry)
    before = tuple(weights[i] for i in chosen)
    gradient = tuple(found.gradient[i] for i in chosen)
    if is_plain:
      moved = subtract(before, gradient)
    else:
      optimizer_state, moved = optimizer.next(optimizer_state, before, gradient)
    new = dict(zip(chosen, moved))
    weights = tuple(new.get(i, w) for i, w in enumerate(weights))
    return index + 1, weights, optimizer_state, found.carry, columns + found.columns

  weights = tuple(weights)
  carry = objective.initial_carry(weights)
  _, weights, _, carry, columns = tf.while_loop(
    lambda index, *_: index < steps,
    step,
    (tf.constant(0), weights, optimizer_state, carry, _no_columns(model, data)),
    parallel_iterations=1,
  )
  return Trained(weights, steps, _sums(model, columns), carry)


def mean_gradient(
  model: model_lib.Model, weights: Weights, data: Any
) -> tuple[Weights, collections.OrderedDict]:
  """The gradient of the mean loss over all examples that `data` names, at fixed weights.

  Batches only bound memory here: their gradients are added up by the examples (or tokens) in them.
  """
  zero = tuple(tf.zeros_like(w) for w in weights)
  minibatches = minibatches_lib.Minibatches(data)
  steps = minibatches_lib.num_steps(data)

  def step(index, total, columns):
    gradient, more = objective_lib.loss_gradient(
      model, weights, minibatches[index], minibatches_lib.step_seed(model, data, index)
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


def mean_loss(model: model_lib.Model, weights: Weights, data: Any) -> tf.Tensor:
  """The mean over all examples that `data` names of what training descends, with nothing dropped.

  float32 [].
  """
  minibatches = minibatches_lib.Minibatches(data)
  steps = minibatches_lib.num_steps(data)

  def step(index, loss, num):
    one_batch = minibatches[index]
    output = model.predict_on_batch((weights, ()), one_batch.x, training=False)
    columns = model.example_metrics(output, one_batch.y)
    total = lambda column: tf.reduce_sum(column * one_batch.mask)
    return index + 1, loss + total(objectives.objective(columns)), num + total(columns['num'])

  _, loss, num = tf.while_loop(
    lambda index, *_: index < steps,
    step,
    (tf.constant(0), tf.constant(0.0), tf.constant(0.0)),
    parallel_iterations=1,
  )
  return tf.math.divide_no_nan(loss, num)


def _is_plain_sgd(optimizer: tff.learning.optimizers.Optimizer) -> bool:
  """Whether a step is w - ηg and no more, so that the objective may multiply by η."""
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

"""Loss and metrics of every problem, as numbers per example.

A model's answers to a batch are reduced to *columns*: float32 [n], one number per example. `num`
is how much the example counts (its tokens for text, else 1); `loss` is its loss summed over what
counts, so that a batch's loss is sum(loss) / sum(num), however batches are cut or padded. All
other columns are sums in the same way, but for `score` of binary problems, the probability from
which the area under the ROC curve is computed, `error_0`, `error_1`, … (z - y of each of several
numbers), and `objective`: what training descends in place of `loss`, where the two differ.
`fl_research.metrics` reduces columns to metrics.

| problem | loss of an example | columns |
|---|---|---|
| classification | -log softmax(z)_y | accuracy; top5 from 50 classes |
| binary | -log sigmoid(±z) | accuracy, score = sigmoid(z) |
| multilabel | mean over tags of -log sigmoid(±z) | accuracy; recall_at_5, positives from 6 tags |
| next_token | -log softmax(z_t)_{y_t}, summed over tokens t with y_t > 0 | accuracy |
| regression | mean over numbers of (z - y)^2 | mae; error_0, … of several numbers |
| reconstruction | mean over numbers of (z - y)^2 | |

`recall_at_5` counts the true tags among the five largest z and is divided by `positives`, the
number of true tags, so that recall is over all tags of all examples, as Reddi et al. 2021 report;
up to five tags it would always be 1. `accuracy` of tags is the share of single decisions that are
right.
They sum the loss over the batch where we average: their client learning rates, times the batch size
(100), are ours.

The objective is the loss but in two cases. Numbers that have a unit (`LabelScale`) are learnt in
units of their deviation, ((z - y) / deviation)^2, so that usual rates fit any unit; z, `loss` and
`mae` stay in the number's own. With class weights w the loss of an example counts w_y times; the
mean of a batch still divides by the number of its examples, as Keras does (PyTorch divides by the
sum of their weights).
"""

from collections import OrderedDict
from collections.abc import Callable
import math
from typing import Optional

import numpy as np
import tensorflow as tf

from fl_research import metrics
from fl_research.datasets.federated_data import Problem

Columns = OrderedDict[str, tf.Tensor]


def class_scores(output: tf.Tensor) -> Columns:
  """The probability of every class, for logits [n, classes]: `score_0`, `score_1`, …."""
  probabilities = tf.unstack(tf.nn.softmax(output), axis=1)
  names = metrics.score_names(len(probabilities))
  return OrderedDict(zip(names, probabilities, strict=True))


def raw_outputs(output: tf.Tensor) -> Columns:
  """A model's outputs [n, …] as columns."""
  columns = tf.unstack(tf.reshape(output, [-1, math.prod(output.shape[1:])]), axis=1)
  return OrderedDict((f'output_{number}', column) for number, column in enumerate(columns))


def _largest_is(output: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
  """1.0 where the largest of the last axis is the label's, else 0.0; the shape of the label."""
  largest = tf.math.argmax(output, axis=-1, output_type=tf.int32)
  # Not `==`, which compares identities, silently, in the graphs that TFF traces.
  return tf.cast(tf.math.equal(largest, tf.cast(label, tf.int32)), tf.float32)


def _classification(output: tf.Tensor, label: tf.Tensor) -> Columns:
  """Columns for logits [n, classes] and labels int [n]."""
  loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=output)
  correct = _largest_is(output, label)
  columns = OrderedDict(num=tf.ones_like(loss), loss=loss, accuracy=correct)
  if output.shape[-1] >= metrics.TOP5_FROM:
    columns['top5'] = tf.cast(tf.math.in_top_k(label, output, k=5), tf.float32)
  return columns


def _binary(output: tf.Tensor, label: tf.Tensor) -> Columns:
  """Columns for logits [n, 1] and labels 0 or 1, [n]."""
  logit = tf.reshape(output, [-1])
  truth = tf.cast(label, tf.float32)
  loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=truth, logits=logit)
  correct = tf.math.equal(logit > 0, truth > 0.5)
  return OrderedDict(
    num=tf.ones_like(loss),
    loss=loss,
    accuracy=tf.cast(correct, tf.float32),
    score=tf.math.sigmoid(logit),
  )


def _multilabel(output: tf.Tensor, label: tf.Tensor) -> Columns:
  """Columns for logits [n, tags] and labels of 0 and 1, [n, tags]."""
  losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=output)
  loss = tf.math.reduce_mean(losses, axis=1)
  columns = OrderedDict(num=tf.ones_like(loss), loss=loss)
  if output.shape[-1] >= metrics.RECALL_FROM:
    _, largest = tf.math.top_k(output, k=5)
    hits = tf.gather(label, largest, batch_dims=1)
    columns['recall_at_5'] = tf.math.reduce_sum(hits, axis=1)
    columns['positives'] = tf.math.reduce_sum(label, axis=1)
  right = tf.math.equal(output > 0, label > 0.5)
  columns['accuracy'] = tf.math.reduce_mean(tf.cast(right, tf.float32), axis=1)
  return columns


def _next_token(output: tf.Tensor, label: tf.Tensor) -> Columns:
  """Columns for logits [n, length, tokens] and labels int [n, length], 0 where not scored."""
  scored = tf.cast(label > 0, tf.float32)
  losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=output)
  correct = _largest_is(output, label)
  return OrderedDict(
    num=tf.math.reduce_sum(scored, axis=1),
    loss=tf.math.reduce_sum(losses * scored, axis=1),
    accuracy=tf.math.reduce_sum(correct * scored, axis=1),
  )


def _regression(output: tf.Tensor, label: tf.Tensor) -> Columns:
  """Columns for predictions [n, k] and labels [n], of several numbers [n, k]."""
  truth = tf.cast(label, tf.float32)
  if truth.shape.rank == 1:
    answer = tf.reshape(output, [-1])
    loss, mae = tf.math.squared_difference(answer, truth), tf.math.abs(answer - truth)
    return OrderedDict(num=tf.ones_like(loss), loss=loss, mae=mae)
  errors = output - truth
  loss = tf.math.reduce_mean(tf.math.square(errors), axis=1)
  mae = tf.math.reduce_mean(tf.math.abs(errors), axis=1)
  columns = OrderedDict(num=tf.ones_like(loss), loss=loss, mae=mae)
  columns.update(zip(metrics.error_names(errors.shape[1]), tf.unstack(errors, axis=1)))
  return columns


def _reconstruction(output: tf.Tensor, label: tf.Tensor) -> Columns:
  """Columns for predictions and labels of one shape, [n, ...]."""
  errors = tf.math.squared_difference(output, label)
  loss = tf.math.reduce_mean(errors, axis=list(range(1, errors.shape.rank)))
  return OrderedDict(num=tf.ones_like(loss), loss=loss)


_COLUMNS: dict[Problem, Callable[[tf.Tensor, tf.Tensor], Columns]] = {
  Problem.CLASSIFICATION: _classification,
  Problem.BINARY: _binary,
  Problem.MULTILABEL: _multilabel,
  Problem.NEXT_TOKEN: _next_token,
  Problem.REGRESSION: _regression,
  Problem.RECONSTRUCTION: _reconstruction,
}


def example_columns(
  problem: Problem,
  output: tf.Tensor,
  label: tf.Tensor,
  deviation: Optional[np.ndarray] = None,
  class_weights: Optional[np.ndarray] = None,
) -> Columns:
  """The columns of a batch, each float32 [n].

  Args:
    problem: what is predicted.
    output: the model's raw output (logits, or predictions in their own units).
    label: the labels, of the type and shape that `Problem` gives.
    deviation: the unit in which numbers are learnt, of a label's shape; their own when None.
    class_weights: as in `ModelSpec`; all count 1 when None.
  """
  columns = _COLUMNS[problem](output, label)
  if deviation is not None:
    columns['objective'] = _in_deviations(output, label, deviation)
  if class_weights is not None:
    columns['objective'] = _weighted(problem, columns['loss'], output, label, class_weights)
  return columns


def _in_deviations(output: tf.Tensor, label: tf.Tensor, deviation: np.ndarray) -> tf.Tensor:
  """The mean squared error in units of the deviation, for predictions [n, k]."""
  truth = tf.reshape(tf.cast(label, tf.float32), [-1, deviation.size])
  errors = (tf.reshape(output, [-1, deviation.size]) - truth) / deviation.reshape(-1)
  return tf.math.reduce_mean(tf.math.square(errors), axis=1)


def _weighted(
  problem: Problem, loss: tf.Tensor, output: tf.Tensor, label: tf.Tensor, weights: np.ndarray
) -> tf.Tensor:
  """Each example's loss times the weight of its class; of tags, decision by decision."""
  if problem is not Problem.MULTILABEL:
    return loss * tf.gather(tf.constant(weights), tf.cast(label, tf.int32))
  losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=output)
  absent, present = weights.T
  return tf.math.reduce_mean(losses * tf.where(label > 0.5, present, absent), axis=1)


def objective(columns: Columns) -> tf.Tensor:
  """Of each example what training descends: its loss, where that is not another number."""
  return columns.get('objective', columns['loss'])


def mean_loss(columns: Columns, sample_weight: Optional[tf.Tensor] = None) -> tf.Tensor:
  """What training descends: sum_i s_i objective_i / sum_i s_i num_i, a scalar; 0 of nothing.

  Args:
    columns: as `example_columns` gives them.
    sample_weight: s, float32 [n], 0 for padding; 1 for all when None.
  """
  loss, num = objective(columns), columns['num']
  if sample_weight is not None:
    loss, num = loss * sample_weight, num * sample_weight
  return tf.math.divide_no_nan(tf.math.reduce_sum(loss), tf.math.reduce_sum(num))

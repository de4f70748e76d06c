"""What methods need that teach models by what others answer for examples that all know.

These are the server's own examples (`--server_examples`), whose labels are not looked at. They are
part of the program, so that clients have them without being sent any in a round.
"""

import collections
from typing import Any

import tensorflow as tf

from fl_research.models import model as model_lib
from fl_research.round.method import Federation
from fl_research.round.objective import Gradient, metric_names, Objective
from fl_research.round.structures import Weights


class Distillation(Objective):
  """The mean cross-entropy to soft labels, which are the y of the batches: float32 [n, classes].

  Its gradient is that of the Kullback-Leibler divergence from them. It measures nothing.

  Args:
    model: the model.
  """

  def __init__(self, model: model_lib.Model):
    self._model = model

  def gradient(self, weights, batch, seed, carry):
    with tf.GradientTape() as tape:
      tape.watch(weights)
      output = self._model.predict_on_batch((weights, ()), batch.x, True, seed)
      losses = tf.nn.softmax_cross_entropy_with_logits(labels=batch.y, logits=output)
    share = tf.math.divide_no_nan(batch.mask, tf.reduce_sum(batch.mask))
    gradient = tape.gradient(losses, weights, output_gradients=share)
    nothing = tf.zeros([len(metric_names(self._model)), tf.shape(batch.mask)[0]])
    return Gradient(gradient, nothing, carry)


def check(federation: Federation, algorithm: str) -> None:
  """Refuses what has no classes, or no examples that all know.

  Raises:
    UsageError: for a user.
    ValueError: for a program that gives no `server_data`.
  """
  federation.require_classes(algorithm, 'learns from answers about')
  if federation.server_data is None:
    raise ValueError(f'{algorithm} needs server_data, the examples that all know.')


def known_to_all(federation: Federation) -> Any:
  """The D of the examples that all know, as tensors of the graph that is being built."""
  return tf.nest.map_structure(tf.constant, federation.server_data)


def answers(model: model_lib.Model, weights: Weights, data: Any) -> tf.Tensor:
  """Logits for all rows of a D's examples, float32 [n, classes], with nothing dropped."""
  return model.predict_on_batch((tuple(weights), ()), data['examples']['x'], training=False)


def labelled(data: Any, labels: tf.Tensor) -> Any:
  """A D with other labels."""
  examples = collections.OrderedDict(x=data['examples']['x'], y=labels)
  return collections.OrderedDict(data, examples=examples)

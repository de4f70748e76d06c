"""What methods need that look at features: what a model's last layer is given."""

from typing import Any

import tensorflow as tf

from fl_research.models import model as model_lib
from fl_research.registry import UsageError
from fl_research.round import minibatches
from fl_research.round.objective import LossOfExamples
from fl_research.round.structures import Weights


def dimension(model: model_lib.Model, algorithm: str) -> int:
  """How many numbers the features of an example are.

  Args:
    model: the model.
    algorithm: who asks, for the message.

  Raises:
    UsageError: the model has no features.
  """
  specs = [tf.TensorSpec(w.shape, w.dtype) for w in model.initial_weights[0]]
  features = tf.function(lambda weights, x: of(model, weights, x), autograph=False)
  try:
    traced = features.get_concrete_function(specs, model.input_spec[0])
  except NotImplementedError as error:
    raise UsageError(
      f'--algorithm={algorithm}: looks at what the last layer is given, and of this model {error}; '
      'choose another --model'
    ) from error
  return int(traced.output_shapes[-1])


def of(model: model_lib.Model, weights: Weights, x: tf.Tensor) -> tf.Tensor:
  """Features of examples, float32 [n, d], with nothing dropped."""
  return model.features_on_batch((tuple(weights), ()), x, training=False)[0]


def by_class(
  model: model_lib.Model, weights: Weights, data: Any, classes: int
) -> tuple[tf.Tensor, tf.Tensor]:
  """Sums [classes, d] and numbers [classes] of the features of each class in the first pass."""
  x, labels, mask = minibatches.examples(data)
  members = tf.one_hot(labels, classes) * mask[:, tf.newaxis]
  sums = tf.matmul(members, of(model, weights, x), transpose_a=True)
  return sums, tf.reduce_sum(members, axis=0)


def drawn_to(points: tf.Tensor, known: tf.Tensor, strength: float) -> LossOfExamples:
  """λ |z - C_y|² / d of each example, z being its features and y its class.

  Args:
    points: C, one for each class, float32 [classes, d].
    known: 1 for classes that have one, and 0 for those that draw nothing, float32 [classes].
    strength: λ.
  """

  def distance(own, batch):
    far = tf.reduce_mean(tf.square(own - tf.gather(points, batch.y)), axis=1)
    return strength * tf.gather(known, batch.y) * far

  return distance


def last_kernel(model: model_lib.Model, algorithm: str) -> int:
  """The place among the weights of the kernel that features are multiplied by.

  Args:
    model: the model.
    algorithm: who asks, for the message.

  Raises:
    UsageError: the model has no features, or its last layer is not trained as such a kernel.
  """
  names, shapes = model.weight_names, [w.shape for w in model.initial_weights[0]]
  last = f'{names[-1].rpartition("/")[0]}/kernel'
  place = names.index(last) if last in names else None
  if place is None or shapes[place] != (dimension(model, algorithm), _outputs(model)):
    raise UsageError(
      f'--algorithm={algorithm}: needs a last layer that multiplies features by a kernel, which is '
      'not trained as one here; choose another --model, or do not --freeze its last layer'
    )
  return place


def _outputs(model: model_lib.Model) -> int:
  """How many numbers the model answers to an example."""
  specs = [tf.TensorSpec(w.shape, w.dtype) for w in model.initial_weights[0]]
  answers = tf.function(
    lambda weights, x: model.predict_on_batch((weights, ()), x), autograph=False
  )
  return int(answers.get_concrete_function(specs, model.input_spec[0]).output_shapes[-1])

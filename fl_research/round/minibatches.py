"""A client's minibatches, as TensorFlow code over its D (see `fl_research.client_data`)."""

import collections
from typing import Any, NamedTuple, Optional

import tensorflow as tf

from fl_research.models import model as model_lib


class Batch(NamedTuple):
  """One minibatch: examples `x`, labels `y`, and `mask`, 1.0 for examples and 0.0 for padding."""

  x: tf.Tensor
  y: tf.Tensor
  mask: tf.Tensor


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


def section(data: Any, begin: tf.Tensor, end: tf.Tensor) -> Any:
  """The same D with some of the client's examples only, and as many passes over them.

  Which examples they are is said by their places in the first pass, from `begin` up to before `end`
  (int32 []); all passes visit them in that order. There are `places` of them.
  """
  rows = tf.reshape(data['batches'], [-1])  # A pass is padded after its last example, if at all.
  length, batch_size = tf.shape(data['batches'])[0], tf.shape(data['batches'])[1]
  count = end - begin
  of_a_pass = tf.maximum((count + batch_size - 1) // batch_size, 1)
  passes = tf.maximum(num_steps(data) // steps_per_pass(data), 1)
  step = tf.range(length)[:, tf.newaxis]
  place = step % of_a_pass * batch_size + tf.range(batch_size)
  inside = tf.logical_and(place < count, step < passes * of_a_pass)
  found = tf.gather(rows, tf.minimum(begin + place, tf.size(rows) - 1))
  batches = tf.where(inside, found, -1)
  batches.set_shape(data['batches'].shape)
  return collections.OrderedDict(data, batches=batches, num_examples=count)


def places(data: Any) -> tf.Tensor:
  """How many examples the first pass visits: all, but in rounds of less than an epoch. int32 []."""
  return tf.minimum(data['num_examples'], num_steps(data) * tf.shape(data['batches'])[1])


def examples(data: Any) -> Batch:
  """The first pass as one batch.

  Of a client's `examples` only the rows in its `batches` are its own: where XLA compiles the loop,
  clients share one array (see `fl_research.runtime.padded`).
  """
  rows = tf.reshape(first_pass(data)['batches'], [-1])
  of = lambda name: tf.gather(data['examples'][name], tf.maximum(rows, 0))
  return Batch(of('x'), of('y'), tf.cast(rows >= 0, tf.float32))


def class_counts(data: Any, classes: int) -> tf.Tensor:
  """How many examples of every class the first pass visits, float32 [classes]."""
  _, labels, mask = examples(data)
  return tf.linalg.matvec(tf.one_hot(labels, classes), mask, transpose_a=True)


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


def step_seed(model: model_lib.Model, data: Any, step: tf.Tensor) -> Optional[tf.Tensor]:
  """The seed of one step's dropout: a function of (run's seed, round, client, step)."""
  if not model.needs_seed:
    return None
  return tf.random.experimental.stateless_fold_in(data['seed'], step)

"""A round of this library as a `tff.learning` process, for programs with loops of their own.

    initialize: ( -> S@SERVER)
    next:       (<S@SERVER, {<x=T[?,...], y=U[?,...]>*}@CLIENTS> -> <state=S, metrics=M>@SERVER)

As in `tff.learning.algorithms`, a client is a data set of batches, shuffled and repeated by whoever
made it, which is what it trains on; so one of these takes the place of one of TFF's.
"""

import collections
from typing import Any, Optional

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.registry import UsageError
from fl_research.round import from_learning_process
from fl_research.round import process as process_lib


def to_learning_process(
  process: process_lib.FederatedProcess,
) -> tff.learning.templates.LearningProcess:
  """The process in TFF's own form.

  `M` is <participants=float32, aggregation=…, method=…, report=…> as in `round.composition`. A
  client's batches have at most `parts.batch_size` examples, any number where that is None. Rounds
  that are a learning process's already are that process.

  Raises:
    UsageError: it asks more of a round than the clients' data sets: states that clients keep,
      draws of dropout, a fresh draw of the server, or more global models than one.
  """
  if isinstance(process, from_learning_process.LearningRounds):
    return process.learning_process
  _refuse_what_needs_more(process)
  server_type = process.start.type_signature.result
  model = process.parts.model
  sequence_type = _sequence_type(model)
  batch_size = process.parts.batch_size
  to_data = tff.tensorflow.computation(lambda data: _to_data(data, batch_size), sequence_type)
  weights = tuple(np.asarray(weight) for weight in model.initial_weights[0])

  @tff.federated_computation()
  def initialize():
    return process.start(tff.federated_value(list(weights), tff.SERVER))

  @tff.federated_computation(server_type, tff.FederatedType(sequence_type, tff.CLIENTS))
  def next_fn(state, clients):
    state, measured = process.next(state, tff.federated_map(to_data, clients))
    return tff.learning.templates.LearningProcessOutput(state, measured)

  state_type = server_type.member
  get = tff.tensorflow.computation(_model_of, state_type)
  put = tff.tensorflow.computation(_with_model, state_type, get.type_signature.result)
  return tff.learning.templates.LearningProcess(initialize, next_fn, get, put)


def _refuse_what_needs_more(process: process_lib.FederatedProcess) -> None:
  reasons = {
    'its clients keep a state from round to round': process.keeps_client_state,
    'its model uses dropout, whose draws the training loop gives': process.parts.model.needs_seed,
    'it draws noise outside its computation (--dp_noise=cryptographic)': process.draw is not None,
    'it has several global models': len(process.models(process.initialize())) > 1,
  }
  for reason, applies in reasons.items():
    if applies:
      raise UsageError(
        f'a tff.learning process takes data sets alone, and this method needs more: {reason}; use '
        'Experiment.run'
      )


def _sequence_type(model: Any) -> tff.SequenceType:
  x, y = (tff.TensorType(spec.dtype.as_numpy_dtype, spec.shape) for spec in model.input_spec)
  return tff.SequenceType(tff.to_type(collections.OrderedDict(x=x, y=y)))


def _to_data(batches: tf.data.Dataset, batch_size: Optional[int]) -> collections.OrderedDict:
  """D of a client whose batches, of at most `batch_size`, are the data set's, in their order."""
  sizes = batches.reduce(
    tf.zeros([0], tf.int32),
    lambda sizes, batch: tf.concat([sizes, tf.shape(batch['y'])[:1]], 0),
  )
  none = collections.OrderedDict(
    (name, tf.zeros([0, *spec.shape[1:]], spec.dtype))
    for name, spec in batches.element_spec.items()
  )
  # `batch` reserves memory for as many rows as it is told of.
  together = batches.unbatch().batch(tf.maximum(tf.cast(tf.reduce_sum(sizes), tf.int64), 1))
  rows = together.reduce(none, lambda _, rows: rows)
  width = tf.reduce_max(tf.concat([sizes, [1]], 0))
  if batch_size:
    message = f'A batch has more than the {batch_size} examples that this process was built for.'
    with tf.control_dependencies([tf.debugging.assert_less_equal(width, batch_size, message)]):
      width = tf.identity(batch_size)
  place = tf.range(width)
  first = tf.cumsum(sizes, exclusive=True)
  in_batch = place[tf.newaxis] < sizes[:, tf.newaxis]
  orders = tf.where(in_batch, first[:, tf.newaxis] + place[tf.newaxis], -1)
  return collections.OrderedDict(
    examples=collections.OrderedDict(x=rows['x'], y=rows['y']),
    batches=tf.ensure_shape(orders, [None, batch_size]),
    num_examples=tf.reduce_sum(sizes),
    client=tf.constant(0),
    seed=tf.zeros([2], tf.int32),
  )


def _model_of(state: Any) -> tff.learning.models.ModelWeights:
  return tff.learning.models.ModelWeights(tuple(state['server']['weights']), ())


def _with_model(state: Any, model: Any) -> Any:
  server = collections.OrderedDict(state['server'], weights=tuple(model.trainable))
  return collections.OrderedDict(state, server=server)

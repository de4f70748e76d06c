"""Methods as `tff.learning` processes, on data sets of batches."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import runtime
from fl_research.algorithms.optimization import fed_avg, fed_prox, scaffold
from fl_research.registry import UsageError
from fl_research.round import learning_process
from tests.algorithms import harness


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with runtime.use_context('fused', chunks=2):
    yield


def _as_data_set(data):
  """The batches that a client's D names."""
  examples = data['examples']
  rows = [batch[batch >= 0] for batch in data['batches']]
  spec = {
    name: tf.TensorSpec([None, *array.shape[1:]], array.dtype) for name, array in examples.items()
  }
  return tf.data.Dataset.from_generator(
    lambda: (collections.OrderedDict((n, a[own]) for n, a in examples.items()) for own in rows),
    output_signature=collections.OrderedDict(spec),
  )


@pytest.fixture(scope='module')
def process():
  return harness.build(fed_prox.build(mu=0.3), batch_size=None)


def test_rounds_of_the_training_loop(process):
  rounds = harness.cohorts(batch_size=4, epochs=2)
  learning = learning_process.to_learning_process(process)
  assert isinstance(learning, tff.learning.templates.LearningProcess)
  state, history = learning.initialize(), []
  for cohort in rounds:
    state = learning.next(state, [_as_data_set(data) for data in cohort]).state
    history.append(tuple(np.asarray(w) for w in learning.get_model_weights(state).trainable))
  harness.assert_same(history, harness.run(process, rounds), 1e-6)


def test_weights_can_be_put_in(process):
  learning = learning_process.to_learning_process(process)
  state = learning.initialize()
  ones = [np.ones_like(weight) for weight in learning.get_model_weights(state).trainable]
  state = learning.set_model_weights(state, tff.learning.models.ModelWeights(ones, ()))
  for found, expected in zip(learning.get_model_weights(state).trainable, ones, strict=True):
    np.testing.assert_array_equal(found, expected)


def test_a_client_without_batches_changes_nothing(process):
  learning = learning_process.to_learning_process(process)
  [data, *_] = harness.cohorts()[0]
  empty = _as_data_set({**data, 'batches': data['batches'][:0]})
  one = learning.next(learning.initialize(), [_as_data_set(data)])
  two = learning.next(learning.initialize(), [empty, _as_data_set(data)])
  first, second = (learning.get_model_weights(each.state).trainable for each in (one, two))
  harness.assert_same([first], [second], 1e-6)


def test_larger_batches_than_those_it_was_built_for():
  process = harness.build(fed_avg.build(), batch_size=2)
  learning = learning_process.to_learning_process(process)
  data = harness.cohorts(batch_size=3)[0][0]
  with pytest.raises(runtime.ComputationError, match='more than the 2 examples'):
    learning.next(learning.initialize(), [_as_data_set(data)])


def test_what_needs_more_than_data_sets_is_refused():
  process = harness.build(scaffold.build(option='II'))
  with pytest.raises(UsageError, match='keep a state from round to round'):
    learning_process.to_learning_process(process)

"""FedAvg and FedSGD against their oracles, against each other, and against TFF's own FedAvg."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import client_data
from fl_research.algorithms.optimization import fed_avg, fed_sgd
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_avg as oracle


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def test_fed_avg_equals_oracle():
  rounds = harness.cohorts(epochs=2)
  ours = harness.run(harness.build(fed_avg.build()), rounds)
  harness.assert_same(
    ours, oracle.fed_avg(harness.model().initial_weights[0], rounds, harness.RATE)
  )


def test_fed_avg_with_server_rate_equals_oracle():
  rounds = harness.cohorts()
  process = harness.build(fed_avg.build(), server_optimizer=tff.learning.optimizers.build_sgdm(0.5))
  expected = oracle.fed_avg(harness.model().initial_weights[0], rounds, harness.RATE, 0.5)
  harness.assert_same(harness.run(process, rounds), expected)


@pytest.mark.parametrize('batch_size', [4, client_data.FULL_BATCH])
def test_fed_sgd_equals_oracle(batch_size):
  rounds = harness.cohorts(batch_size)
  process = harness.build(
    fed_sgd.build(), server_optimizer=tff.learning.optimizers.build_sgdm(harness.RATE)
  )
  expected = oracle.fed_sgd(harness.model().initial_weights[0], rounds, harness.RATE)
  harness.assert_same(harness.run(process, rounds), expected)


def test_one_full_batch_step_of_fed_avg_is_fed_sgd():
  rounds = harness.cohorts(client_data.FULL_BATCH)
  averaged = harness.run(harness.build(fed_avg.build()), rounds)
  stepped = harness.run(
    harness.build(
      fed_sgd.build(), server_optimizer=tff.learning.optimizers.build_sgdm(harness.RATE)
    ),
    rounds,
  )
  harness.assert_same(averaged, stepped, 1e-6)


def test_equals_tff_fed_avg_on_the_same_batches():
  rounds = harness.cohorts(epochs=2)
  model = harness.model()
  theirs = tff.learning.algorithms.build_weighted_fed_avg(
    model_fn=model,
    client_optimizer_fn=tff.learning.optimizers.build_sgdm(harness.RATE),
    server_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0),
  )
  state, history = theirs.initialize(), []
  for cohort in rounds:
    state = theirs.next(state, [_as_dataset(data) for data in cohort]).state
    history.append([np.asarray(w) for w in theirs.get_model_weights(state)[0]])
  harness.assert_same(harness.run(harness.build(fed_avg.build()), rounds), history)


def _as_dataset(data):
  """The same batches as a `tf.data.Dataset` of (x, y)."""

  def generate():
    for row in data['batches']:
      rows = row[row >= 0]
      yield data['examples']['x'][rows], data['examples']['y'][rows]

  x, y = harness.model().input_spec
  return tf.data.Dataset.from_generator(generate, output_signature=(x, y))


def test_weighting_uniform():
  rounds = harness.cohorts(rounds=1)
  uniform = harness.run(harness.build(fed_avg.build(), client_weighting='uniform'), rounds)
  start = harness.model().initial_weights[0]
  trained = [oracle.local_sgd(start, data, harness.RATE) for data in rounds[0]]
  harness.assert_same(uniform, [[np.mean(parts, axis=0) for parts in zip(*trained)]])


def test_unequal_clients_give_the_weighted_mean_and_equal_ones_the_mean():
  # One weight, and updates that are known: a client's "training" is its own constant step.
  updates = np.array([[0.1, 0.2, 0.3], [0.2, 0.3, 0.4], [0.3, 0.4, 0.5]], np.float32)
  np.testing.assert_allclose(_aggregate(updates, [100, 100, 100]), [0.2, 0.3, 0.4], rtol=1e-6)
  expected = np.average(updates, axis=0, weights=[100, 200, 700])
  np.testing.assert_allclose(_aggregate(updates, [100, 200, 700]), expected, rtol=1e-6)


def _aggregate(updates, weights):
  from fl_research.aggregation import mean

  vector = tff.TensorType(np.float32, (3,))
  process = mean.build().factory.create(vector, tff.TensorType(np.float32))
  return process.next(process.initialize(), list(updates), list(np.float32(weights))).result


def test_a_client_with_nan_is_left_out_and_named():
  rounds = harness.cohorts(rounds=1)
  broken = [dict(data) for data in rounds[0]]
  x = broken[1]['examples']['x'].copy()
  x[0, 0] = np.nan
  broken[1]['examples'] = collections.OrderedDict(x=x, y=broken[1]['examples']['y'])
  process = harness.build(fed_avg.build())
  state, measured = process.next(process.initialize(), broken)
  report = dict(zip(process.report_columns, np.asarray(measured['report']['values']).T))
  finite = dict(zip(np.asarray(measured['report']['client']), report['finite']))
  assert finite == {0: 1.0, 1: 0.0, 2: 1.0}
  without = [rounds[0][0], rounds[0][2]]
  expected = oracle.fed_avg(harness.model().initial_weights[0], [without], harness.RATE)
  harness.assert_same([process.model_weights(state)], expected)


def test_no_client_left_changes_nothing():
  process = harness.build(
    fed_avg.build(), server_optimizer=tff.learning.optimizers.build_sgdm(1.0, 0.9)
  )
  state, _ = process.next(process.initialize(), harness.cohorts(rounds=1)[0])
  broken = harness.cohorts(rounds=1)[0][:1]
  x = np.full_like(broken[0]['examples']['x'], np.inf)
  broken[0]['examples'] = collections.OrderedDict(x=x, y=broken[0]['examples']['y'])
  for cohort in (broken, []):
    after, measured = process.next(state, cohort)
    assert measured['participants'] == 0
    harness.assert_same([process.model_weights(after)], [process.model_weights(state)], 0)
    momentum = lambda s: [np.asarray(a) for a in s['server']['optimizer']['accumulator']]
    harness.assert_same([momentum(after)], [momentum(state)], 0)

"""FLTrust against its oracle, and what attackers can do about it."""

import numpy as np
import pytest
import tensorflow as tf

from fl_research import aggregation, runtime
from fl_research.aggregation import fltrust
from fl_research.registry import UsageError
from fl_research.settings import Settings
from fl_research.soundness import validation
from fl_research.training import run_data
from tests.aggregation import seven_clients
from tests.algorithms import harness
from tests.oracles import fed_avg, robust_aggregation


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with runtime.use_context('fused', chunks=2):
    yield


def _flat_delta(weights, data):
  trained = fed_avg.local_sgd(weights, data, harness.RATE)
  return np.concatenate([np.ravel(new - old) for new, old in zip(trained, weights)])


def test_three_rounds_equal_oracle():
  rounds = seven_clients.cohorts()
  history = harness.run(seven_clients.build(aggregation.build('fltrust', {})), rounds)
  weights, expected = harness.model().initial_weights[0], []
  for cohort in rounds:
    updates = [_flat_delta(weights, data) for data in cohort]
    own = _flat_delta(weights, seven_clients.server_data())
    step = robust_aggregation.fltrust(updates, own)
    size = weights[0].size
    weights = [weights[0] + step[:size].reshape(weights[0].shape), weights[1] + step[size:]]
    expected.append(weights)
  harness.assert_same(history, expected)


def _combine(updates, own):
  rows = tf.constant(updates, tf.float32)
  weights = tf.ones([len(updates)])
  combined, _ = fltrust.build().next((), (rows,), weights, (tf.constant(own, tf.float32),))
  return combined[0].numpy()


def test_neither_length_nor_the_other_way_counts():
  own = np.array([2.0, 0.0])
  np.testing.assert_allclose(_combine([[5.0, 0.0], [-900.0, 0.0]], own), own, rtol=1e-6)
  np.testing.assert_allclose(_combine([[1e6, 0.0], [2.0, 0.0]], own), own, rtol=1e-6)
  # By hand: scores 1 and 1/√2, directions (1, 0) and (1, 1)/√2, both of the server's length.
  half = 1 / np.sqrt(2)
  by_hand = 2 * (np.array([1.0, 0.0]) + half * np.array([half, half])) / (1 + half)
  np.testing.assert_allclose(_combine([[3.0, 0.0], [4.0, 4.0]], own), by_hand, rtol=1e-6)


def test_nobody_who_agrees_gives_zero():
  np.testing.assert_array_equal(_combine([[-1.0, 0.0], [0.0, 0.0]], [2.0, 0.0]), [0.0, 0.0])


def _settings(**changes):
  return Settings(experiment_name='run', task='digits', clients_per_round=5, **changes)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'aggregator': 'fltrust'}, '--server_examples: must be given for --aggregator=fltrust'),
    ({'server_examples': 5}, '--server_examples=5: only read with .*--aggregator=fltrust'),
  ],
)
def test_examples_and_rule_go_together(changes, message):
  with pytest.raises(UsageError, match=message):
    validation.validate(_settings(**changes))


def test_the_servers_examples_are_the_clients():
  data = run_data.load(_settings(aggregator='fltrust', server_examples=100, num_clients=7))
  again = run_data.load(_settings(aggregator='fltrust', server_examples=100, num_clients=7))
  assert data.server is not None and again.server is not None
  np.testing.assert_array_equal(data.server['x'], again.server['x'])
  assert data.server['x'].shape == (100, *data.train.examples(0)['x'].shape[1:])
  owned = {row.tobytes() for row in data.train.pooled()['x']}
  assert {row.tobytes() for row in data.server['x']} <= owned
  assert len(np.unique(data.server['y'])) == 10
  with pytest.raises(UsageError, match='--server_examples=5000: the training clients have'):
    run_data.load(_settings(aggregator='fltrust', server_examples=5000, num_clients=7))

"""Cohorts that are described, and made slice by slice: the bits of cohorts that are whole."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import runtime  # before TensorFlow
from fl_research.aggregation import stacking
from fl_research.runtime import chunks, described
from tests.runtime import described_clients, rounds

SIZES = (7, 0, 12, 3, 8, 30, 5, 9, 1, 4, 16)
SCALAR_AT_CLIENTS = tff.FederatedType(np.float32, tff.CLIENTS)


@tff.tensorflow.computation(rounds.DATA, np.float32)
def _summary(data, state):
  return tf.reduce_sum(data['examples']['x']) + state, tf.cast(data['seed'][0], tf.float32)


@tff.tensorflow.computation(np.float32, rounds.DATA, np.float32)
def _again(summary, data, mean):
  return summary - mean + tf.reduce_sum(data['examples']['x'] ** 2)


@tff.federated_computation(rounds.CLIENTS_DATA, SCALAR_AT_CLIENTS)
def two_steps(data, states):
  """A mean, then work that needs it and what the first step left; values stay at the clients."""
  summary = tff.federated_map(_summary, (data, states))
  mean = tff.federated_mean(summary[0], summary[1])
  again = tff.federated_map(_again, (summary[0], data, tff.federated_broadcast(mean)))
  return mean, tff.federated_sum(again), again


@tff.tensorflow.computation(rounds.DATA)
def _checked(data):
  with tf.control_dependencies([tf.debugging.assert_less(data['num_examples'], 20)]):
    return tf.identity(data['num_examples'])


@tff.federated_computation(rounds.CLIENTS_DATA)
def total(data):
  """The number of examples; fails at clients with 20 or more."""
  return tff.federated_sum(tff.federated_map(_checked, data))


@pytest.fixture
def small_slices(monkeypatch):
  monkeypatch.setattr(chunks, 'WHOLE_BYTES', 0)
  monkeypatch.setattr(chunks, 'SLICE_BYTES', 1500)


@pytest.mark.parametrize('number', [1, 2, 4])
def test_slices_give_the_bits_of_whole_chunks(small_slices, number):
  data = described_clients.described_clients(SIZES)
  with runtime.use_context('fused', number):
    state = expected = rounds.first_weights()
    for _ in range(3):
      prepared = runtime.stack_clients(data)
      assert prepared is data
      state, _ = rounds.next_round(state, prepared)
      expected, _ = rounds.next_round(expected, rounds.clients(SIZES))
  assert repr(state) == repr(expected)
  # The largest client alone takes more than a slice may; the first is made to see its type.
  assert max(data.made) < 6


@pytest.mark.parametrize('name', ['fused', 'native'])
def test_what_stays_at_the_clients_and_other_arguments(small_slices, name):
  data = described_clients.described_clients(SIZES)
  states = [np.float32(0.25 * k) for k in range(len(SIZES))]
  with runtime.use_context('fused', 2):
    expected = two_steps(runtime.stack_clients(rounds.clients(SIZES)), states)
  with runtime.use_context(name, 2):
    found = two_steps(data, states)
  tolerance = 0 if name == 'fused' else 1e-5
  for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected)):
    np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def test_what_is_stacked_at_the_server(small_slices):
  @tff.tensorflow.computation(rounds.DATA)
  def row(data):
    return tf.stack([tf.reduce_sum(data['examples']['x']), tf.cast(data['seed'][0], tf.float32)])

  @tff.federated_computation(rounds.CLIENTS_DATA)
  def rows(data):
    return stacking.stack_at_server(tff.federated_map(row, data))

  with runtime.use_context('fused', 2):
    expected = rows(rounds.clients(SIZES))
    found = rows(described_clients.described_clients(SIZES))
  assert repr(found) == repr(expected)


def test_xla_takes_them_whole(small_slices):
  data = described_clients.described_clients(SIZES)
  with runtime.use_context('fused', 2, 'on'):
    expected = rounds.next_round(rounds.first_weights(), rounds.clients(SIZES))
    assert repr(rounds.next_round(rounds.first_weights(), data)) == repr(expected)
  assert len(SIZES) in data.made


def test_a_failing_client_is_named_in_any_slice(small_slices):
  with (
    runtime.use_context('fused', 2),
    pytest.raises(runtime.ComputationError, match='client 5 of the cohort'),
  ):
    total(described_clients.described_clients(SIZES))


def test_a_small_cohort_is_made_ahead():
  data = described_clients.described_clients(SIZES)
  with runtime.use_context('fused', 2):
    assert isinstance(runtime.stack_clients(data), chunks.ClientStack)


def test_a_described_cohort_of_another_type_is_refused():
  class Wider(described_clients.Seeded):
    def make(self):
      for client in (made := super().make()):
        client['examples']['x'] = np.pad(client['examples']['x'], [(0, 0), (0, 1)])
      return made

  data = Wider(1.0, np.arange(3), np.array([4, 5, 6]))
  with runtime.use_context('fused', 2), pytest.raises(TypeError, match=r'client [0-2] of'):
    rounds.next_round(rounds.first_weights(), data)


@pytest.mark.parametrize(
  ('sizes', 'expected'),
  [
    ([], [range(0)]),
    ([3, 3, 3], [range(2), range(2, 3)]),
    ([9, 1, 1, 9], [range(1), range(1, 3), range(3, 4)]),
    ([0, 0, 0], [range(3)]),
  ],
)
def test_cuts(sizes, expected):
  assert described.slices(sizes, 6) == expected


def test_named_leaves():
  value = collections.OrderedDict(a=np.int32(1), b={'c': np.zeros(2)})
  assert [name for name, _ in described.named_leaves(value)] == ['/a', '/b/c']

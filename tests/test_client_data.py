"""A client's D: which examples each minibatch reads."""

import pickle

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from fl_research import client_data, random_streams
from fl_research.client_data import FULL_BATCH
from fl_research.datasets import federated_data
from fl_research.runtime.described import named_leaves


def order(num_examples, batch_size, epochs, seed=0):
  keys = [1000 * seed + number for number in range(client_data.passes(epochs))]
  orders = random_streams.orders(keys, [num_examples] * len(keys))
  return client_data.batch_order(orders, batch_size, epochs)


def data(num_examples=10, **changes):
  examples = {'x': np.arange(2.0 * num_examples).reshape(-1, 2), 'y': np.arange(num_examples)}
  arguments = {'batch_size': 3, 'epochs': 2, 'seed': 1, 'round_num': 4, 'client': 5, **changes}
  return client_data.client_data(examples, **arguments)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 4))
def test_every_epoch_reads_every_example_once(num_examples, batch_size, epochs):
  batches = order(num_examples, batch_size, epochs)
  assert batches.dtype == np.int32
  steps = -(-num_examples // batch_size)
  assert batches.shape == (epochs * steps, batch_size)
  for epoch in batches.reshape(epochs, steps * batch_size):
    assert sorted(epoch[epoch >= 0]) == list(range(num_examples))
    # Only the last batch is smaller, and its padding comes last.
    assert np.all(epoch[:num_examples] >= 0) and np.all(epoch[num_examples:] == -1)


def test_epochs_are_shuffled_anew():
  epochs = order(20, 20, 3)
  assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize(
  'num_examples, batch_size, epochs, steps',
  [
    (10, 2, 0.4, 2),
    (10, 2, 1.6, 8),
    (10, 2, 0.01, 1),
    (10, 3, 0.5, 2),
    (7, FULL_BATCH, 0.2, 1),
    (7, FULL_BATCH, 2.6, 3),
  ],
)
def test_fractional_epochs(num_examples, batch_size, epochs, steps):
  batches = order(num_examples, batch_size, epochs)
  assert len(batches) == steps
  read = batches[: -(-num_examples // (batch_size or num_examples))]
  assert len(set(read[read >= 0])) == np.count_nonzero(read >= 0)


def test_full_batch():
  batches = order(7, FULL_BATCH, 2)
  assert batches.shape == (2, 7)
  assert [sorted(batch) for batch in batches] == [list(range(7))] * 2
  assert order(1, FULL_BATCH, 1).tolist() == [[0]]


@pytest.mark.parametrize('batch_size', [3, FULL_BATCH])
def test_a_client_without_examples_has_no_batch(batch_size):
  assert np.all(order(0, batch_size, 1) == -1)


def test_data_is_a_function_of_seed_round_and_client():
  reference = data()
  np.testing.assert_array_equal(data()['batches'], reference['batches'])
  np.testing.assert_array_equal(data()['seed'], reference['seed'])
  for change in ({'seed': 2}, {'round_num': 5}, {'client': 6}):
    assert not np.array_equal(data(**change)['batches'], reference['batches']), change
    assert not np.array_equal(data(**change)['seed'], reference['seed']), change


def test_nobody_depends_on_who_else_is_in_the_cohort():
  sizes, clients, epochs = [4, 0, 13, 9], [2, 3, 7, 11], [2.0, 1.0, 0.5, 3.0]
  rows = np.arange(13.0)
  examples = [{'x': rows[:size], 'y': rows[:size]} for size in sizes]
  common = {'batch_size': 3, 'seed': 1, 'round_num': 4, 'max_examples': 8}
  together = client_data.cohort_data(examples, epochs=epochs, clients=clients, **common)
  for own, made, client, count in zip(examples, together, clients, epochs):
    alone = client_data.client_data(own, epochs=count, client=client, **common)
    assert list(alone) == list(made)
    for name in ('batches', 'num_examples', 'client', 'seed'):
      np.testing.assert_array_equal(alone[name], made[name])
    np.testing.assert_array_equal(alone['examples']['y'], made['examples']['y'])
  assert client_data.cohort_data([], epochs=[], clients=[], **common) == []


def test_a_straggler_reads_the_first_part_of_what_it_would_have_read():
  np.testing.assert_array_equal(data(epochs=1.5)['batches'], data(epochs=2)['batches'][:6])


def test_data_holds_the_client_itself():
  made = data()
  assert list(made) == ['examples', 'batches', 'num_examples', 'client', 'seed']
  np.testing.assert_array_equal(made['examples']['y'], np.arange(10))
  assert (made['num_examples'], made['client']) == (10, 5)
  assert made['num_examples'].dtype == made['client'].dtype == made['seed'].dtype == np.int32


def test_at_most_so_many_examples_drawn_each_round():
  drawn = [data(max_examples=4, round_num=r)['examples']['y'] for r in range(30)]
  assert {len(set(y)) for y in drawn} == {4}
  assert set(np.concatenate(drawn)) == set(range(10))
  made = data(max_examples=4)
  np.testing.assert_array_equal(made['examples']['x'][:, 0], 2 * made['examples']['y'])
  assert made['num_examples'] == 4 and made['batches'].max() == 3
  assert data(max_examples=10)['num_examples'] == data(max_examples=None)['num_examples'] == 10


@pytest.mark.parametrize('batch_size', [3, FULL_BATCH])
@pytest.mark.parametrize('max_examples', [None, 8])
def test_a_described_cohort_is_what_is_made_of_it(batch_size, max_examples):
  sizes = np.array([4, 0, 13, 9, 1, 25])
  offsets = np.concatenate([[0], np.cumsum(sizes)])
  rows = np.arange(float(sizes.sum()))
  population = federated_data.ContiguousClients({'x': rows, 'y': rows}, offsets)
  clients, epochs = [5, 1, 2, 3, 0], [2.0, 1.0, 0.5, 3.0, 1.25]
  common = {'batch_size': batch_size, 'seed': 1, 'round_num': 4, 'max_examples': max_examples}
  source = client_data.Source(population)
  described = client_data.cohort(source, clients, epochs, **common)
  expected = client_data.cohort_data(
    population.examples_of(clients), epochs=epochs, clients=clients, **common
  )
  assert client_data.positions(described) == client_data.positions(expected) == clients
  assert described.weights().tolist() == [1.0 + len(data['batches']) for data in expected]
  sent = pickle.loads(pickle.dumps(described.part([3, 1, 2], None)))
  with pytest.raises(ValueError, match='lacks its source'):
    sent.make()
  arrived = sent.part(range(3), pickle.loads(pickle.dumps(source)))
  found = {**dict(enumerate(described)), **dict(zip([3, 1, 2], arrived.make()))}
  for place, data in enumerate(expected):
    for made in (found[place], described[place]):
      for (name, one), (_, other) in zip(named_leaves(made), named_leaves(data)):
        np.testing.assert_array_equal(one, other, err_msg=name)

"""A client's minibatches: how many there are, and what each holds."""

import types

import numpy as np
import pytest
import tensorflow as tf

from fl_research import client_data
from fl_research.client_data import FULL_BATCH
from fl_research.round import client_half, minibatches

EXAMPLES = {'x': np.arange(10.0, 17.0).reshape(7, 1), 'y': np.arange(7)}


def data(count=7, batch_size=3, epochs=1.0):
  return client_data.client_data(
    {name: array[:count] for name, array in EXAMPLES.items()},
    batch_size=batch_size, epochs=epochs, seed=1, round_num=2, client=3,
  )  # fmt: skip


@pytest.mark.parametrize(
  'count, batch_size, epochs, steps, of_a_pass',
  [
    (7, 3, 1, 3, 3),
    (6, 3, 2, 4, 2),
    (7, 3, 2.4, 7, 3),
    (7, 3, 0.5, 2, 3),
    (7, 1, 1, 7, 7),
    (7, FULL_BATCH, 3, 3, 1),
    (0, 3, 1, 0, 0),
    (0, FULL_BATCH, 1, 0, 0),
  ],
)
def test_steps_of_a_round_and_of_a_pass(count, batch_size, epochs, steps, of_a_pass):
  client = data(count, batch_size, epochs)
  padding = np.full((2, client['batches'].shape[1]), -1, np.int32)
  padded = {**client, 'batches': np.concatenate([client['batches'], padding])}
  for each in (client, padded):
    assert int(minibatches.num_steps(each)) == steps
    assert int(minibatches.steps_per_pass(each)) == of_a_pass


def test_the_first_pass_reads_every_example_once():
  client = data(epochs=2)
  first = minibatches.first_pass(client)
  assert sorted(row for row in np.ravel(first['batches']) if row >= 0) == list(range(7))
  np.testing.assert_array_equal(first['batches'], client['batches'][:3])
  assert {
    name: first[name] is client[name] for name in client if name != 'batches'
  } == dict.fromkeys(('examples', 'num_examples', 'client', 'seed'), True)


def test_a_minibatch_holds_its_examples_and_a_mask_for_its_padding():
  client = data()
  found = minibatches.Minibatches(client)
  masks = []
  for step, rows in enumerate(client['batches']):
    batch = found[tf.constant(step)]
    masks.append(batch.mask.numpy().tolist())
    kept = batch.mask.numpy() > 0
    np.testing.assert_array_equal(batch.y.numpy()[kept], rows[rows >= 0])
    np.testing.assert_array_equal(batch.x.numpy()[kept, 0], 10.0 + rows[rows >= 0])
  assert masks == [[1, 1, 1], [1, 1, 1], [1, 0, 0]]


def test_each_step_has_a_seed_of_its_own_where_the_model_draws():
  client = data()
  seed = lambda step, needs=True, of=client: minibatches.step_seed(
    types.SimpleNamespace(needs_seed=needs), of, tf.constant(step)
  )
  assert seed(0, needs=False) is None
  other = {**client, 'seed': client['seed'] + np.int32(1)}
  seeds = [seed(0), seed(1), seed(2), seed(0, of=other)]
  assert len({tuple(each.numpy()) for each in seeds}) == 4
  np.testing.assert_array_equal(seed(1), seeds[1])


def test_examples_are_the_clients_own_rows():
  client = data(4, 3, 2.0)
  for begin, array in ((0, EXAMPLES['y'][:4]), (3, np.array([9, 9, 9, *EXAMPLES['y'][:4], 9]))):
    rows = np.where(client['batches'] < 0, -1, client['batches'] + begin)
    own = {**client, 'batches': rows, 'examples': {'x': array + 10, 'y': array}}
    x, y, mask = map(np.asarray, minibatches.examples(own))
    assert sorted(y[mask > 0]) == [0, 1, 2, 3]
    np.testing.assert_array_equal(x, y + 10)
    assert mask.sum() == 4


def test_weights_by_tokens_are_those_of_the_clients_own_rows():
  tokens = np.array([[1, 2, 0], [3, 0, 0], [1, 1, 1], [5, 0, 0]])
  batches = np.array([[1, 3], [0, -1]], np.int32)
  client = {'examples': {'x': tokens, 'y': tokens}, 'batches': batches, 'num_examples': np.int32(3)}
  assert float(client_half._weight('num_tokens', client)) == 4

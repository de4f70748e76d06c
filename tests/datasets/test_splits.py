import numpy as np
import pytest

from fl_research.datasets import splits


@pytest.mark.parametrize(
  'size, expected', [(0, 0), (1, 0), (2, 1), (7, 1), (8, 2), (10, 2), (12, 2), (13, 3), (100, 20)]
)
def test_held_out_counts_round_half_up_and_leave_a_training_row(size, expected):
  assert splits.held_out_counts(np.array([size])) == [expected]


def test_held_out_rows_are_as_many_per_group_as_announced():
  groups = np.repeat([5, 3, 9, 4], [10, 1, 13, 2])[np.random.default_rng(0).permutation(26)]
  rows = splits.held_out_rows(groups, np.random.default_rng(1))
  held_out = {group: int(rows[groups == group].sum()) for group in (5, 3, 9, 4)}
  assert held_out == {5: 2, 3: 0, 9: 3, 4: 1}


def test_held_out_rows_depend_on_the_generator_alone_and_reach_every_row():
  groups = np.zeros(10)
  draw = lambda seed: splits.held_out_rows(groups, np.random.default_rng(seed))
  np.testing.assert_array_equal(draw(3), draw(3))
  assert np.all(np.any([draw(seed) for seed in range(60)], axis=0))


def test_clients_by_owner_keep_order_and_leave_out_owners_without_rows():
  arrays = {'x': np.array([10, 20, 30, 40]), 'y': np.array([1, 2, 3, 4])}
  clients = splits.clients_by_owner(arrays, np.array([2, 0, 2, 0]), ['a', 'b', 'c'])
  assert list(clients.ids) == ['a', 'c']
  np.testing.assert_array_equal(clients.examples(0)['x'], [20, 40])
  np.testing.assert_array_equal(clients.examples(1)['y'], [1, 3])


def test_own_tests_are_the_last_examples_of_each_label():
  y = np.array([0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0])
  arrays = {'x': np.arange(11), 'y': y}
  clients = splits.clients_by_owner(arrays, np.repeat([0, 1, 2], [8, 2, 1]), ['a', 'b', 'c'])
  train, test = splits.own_tests(clients, 0.4, by_label=True)
  assert list(train.ids) == ['a', 'b', 'c'] and list(test.ids) == ['a', 'b']
  assert [train.examples(k)['x'].tolist() for k in range(3)] == [[0, 1, 2, 3, 4], [8], [10]]
  assert [test.examples(k)['x'].tolist() for k in range(2)] == [[5, 6, 7], [9]]


def test_own_tests_without_labels_are_the_last_examples():
  x = np.arange(10)
  clients = splits.clients_by_owner({'x': x, 'y': x / 2}, np.repeat([0, 1], 5), ['a', 'b'])
  train, test = splits.own_tests(clients, 0.2, by_label=False)
  assert train.pooled()['x'].tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
  assert test.pooled()['y'].tolist() == [2.0, 4.5]

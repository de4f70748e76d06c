"""Clients that name the labels differently."""

import numpy as np

from fl_research.datasets import relabelled, splits


def test_the_first_naming_is_the_datas_own_and_all_are_permutations():
  names = relabelled.namings(5, 10, seed=3)
  np.testing.assert_array_equal(names[0], np.arange(10))
  np.testing.assert_array_equal(np.sort(names, axis=1), [np.arange(10)] * 5)
  assert len({tuple(row) for row in names}) == 5
  np.testing.assert_array_equal(names, relabelled.namings(5, 10, seed=3))
  assert np.any(names != relabelled.namings(5, 10, seed=4))
  np.testing.assert_array_equal(names[:2], relabelled.namings(2, 10, seed=3))


def test_examples_keep_their_inputs_and_get_their_clients_labels():
  arrays = {'x': np.arange(6), 'y': np.array([0, 1, 2, 0, 1, 2])}
  clients = splits.clients_by_owner(arrays, np.repeat([0, 1], 3), ['a', 'b'])
  names = np.array([[0, 1, 2], [2, 0, 1]], np.int32)
  renamed = relabelled.Relabelled(clients, np.array([1, 0]), names)
  assert list(renamed.ids) == ['a', 'b'] and renamed.sizes.tolist() == [3, 3]
  np.testing.assert_array_equal(renamed.examples(0)['x'], [0, 1, 2])
  np.testing.assert_array_equal(renamed.examples(0)['y'], [2, 0, 1])
  np.testing.assert_array_equal(renamed.pooled()['y'], [2, 0, 1, 0, 1, 2])
  assert renamed.examples(0)['y'].dtype == np.int32

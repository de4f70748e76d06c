"""FedMGDA+ alone: the point nearest to 0, its shares' bounds, and updates of length 0."""

import numpy as np
import pytest
import tensorflow as tf

from fl_research.aggregation import fedmgda


def combine(updates, weights, epsilon):
  given = (tf.constant(updates, tf.float32),)
  [combined] = fedmgda.build(epsilon).combine(given, tf.constant(weights, tf.float32))
  return np.asarray(combined)


def test_no_client_loses():
  # d of the free mixture has an inner product with every û of at least |d|².
  rng = np.random.default_rng(2)
  updates = rng.normal(size=(6, 40)) + 0.5
  d = combine(updates, np.ones(6), 1.0) / np.linalg.norm(updates, axis=1).mean()
  units = updates / np.linalg.norm(updates, axis=1)[:, None]
  assert np.all(units @ d >= d @ d - 1e-6) and d @ d > 0.01


def test_clients_that_send_the_same_are_the_mean_and_without_epsilon_it_is_of_units():
  updates = np.tile([[3.0, 4.0]], (3, 1))
  np.testing.assert_allclose(combine(updates, [1, 2, 3], 0.2), [3.0, 4.0], rtol=1e-6)
  updates = np.array([[2.0, 0.0], [0.0, 4.0]])
  np.testing.assert_allclose(combine(updates, [3, 1], 0.0), 2.5 * np.array([0.75, 0.25]), rtol=1e-6)


def test_opposite_updates_leave_it_where_it_is_and_bounds_hold():
  updates = np.array([[1.0, 0.0], [-5.0, 0.0]])
  np.testing.assert_allclose(combine(updates, [1, 1], 1.0), [0.0, 0.0], atol=1e-6)
  # λ⁰ = (0.9, 0.1) and ε = 0.2: the free minimum, (0.5, 0.5), is out of reach; (0.7, 0.3) is best.
  found = combine(updates, [9, 1], 0.2)
  np.testing.assert_allclose(found, [(0.7 - 0.3) * (0.9 * 1 + 0.1 * 5), 0.0], rtol=1e-6)


@pytest.mark.parametrize('epsilon, expected', [(1.0, 0.0), (0.1, 0.4 * 0.5)])
def test_an_update_of_length_0(epsilon, expected):
  found = combine(np.array([[1.0, 0.0], [0.0, 0.0]]), [1, 1], epsilon)
  np.testing.assert_allclose(found, [expected, 0.0], atol=1e-6)

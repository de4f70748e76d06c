"""The objective that claims measure against: derivatives, optimum, and the path of a run."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import itertools

import numpy as np
import pytest
import scipy.optimize

from baselines import softmax_objective
from fl_research.datasets.federated_data import ContiguousClients
from fl_research.settings import Settings


def _objective(decay=0.1) -> softmax_objective.Objective:
  """Three clients of 3, 5 and 12 examples, 4 features, 3 classes."""
  generator = np.random.default_rng(3)
  arrays = {'x': generator.standard_normal((20, 4)), 'y': generator.integers(0, 3, 20)}
  clients = ContiguousClients(arrays, np.array([0, 3, 8, 20]))
  return softmax_objective.Objective.of(clients, 3, decay)


@pytest.fixture
def point():
  return np.random.default_rng(4).standard_normal(15)


def test_loss_by_hand(point):
  objective = _objective()
  weights, total = point.reshape(5, 3), 0.0
  for x, y in objective.clients:
    for row, label in zip(x, y):
      p = np.exp(row @ weights) / np.exp(row @ weights).sum()
      total -= np.log(p[np.argmax(label)]) / 20
  assert objective.value(point)[0] == pytest.approx(total + 0.05 * np.sum(point**2))


def test_gradients_of_all_and_of_each_client(point):
  objective = _objective()
  for k in range(3):
    loss = lambda w, k=k: objective.parts(w)[0][k]
    numeric = scipy.optimize.approx_fprime(point, loss, 1e-7)
    np.testing.assert_allclose(objective.parts(point)[1][k], numeric, atol=1e-5)
  numeric = scipy.optimize.approx_fprime(point, lambda w: objective.value(w)[0], 1e-7)
  np.testing.assert_allclose(objective.value(point)[1], numeric, atol=1e-5)


def test_variance_is_that_of_gradients_drawn_by_size(point):
  objective = _objective()
  gradients = np.repeat(objective.parts(point)[1], [3, 5, 12], axis=0)
  assert objective.gradient_variance(point) == pytest.approx(gradients.var(axis=0).sum())


def test_nothing_is_below_the_minimum(point):
  objective = _objective()
  least = objective.minimum()
  newton = scipy.optimize.minimize(objective.value, point, jac=True, method='Newton-CG', tol=1e-9)
  assert least == pytest.approx(newton.fun, abs=1e-8)
  assert least < objective.value(newton.x + 0.01)[0]


def test_the_path_of_full_gradient_descent():
  settings = Settings(
    task='feddyn_synthetic',
    num_clients=3,
    clients_per_round=3,
    client_batch_size='full',
    client_learning_rate=0.5,
    client_weight_decay=0.1,
    total_rounds=4,
    rounds_per_evaluation=4,
    rounds_per_checkpoint=1,
  )
  objective, points = softmax_objective.path(settings)
  assert len(points) == 4
  for before, after in itertools.pairwise(points):
    np.testing.assert_allclose(after, before - 0.5 * objective.value(before)[1], atol=1e-6)

"""FedExP's linear regression against its recursions written out."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import numpy as np
import pytest

from baselines import minimisation
from baselines.jhunjhunwala2023_fedexp import regression


@pytest.fixture(scope='module')
def data() -> np.ndarray:
  """Three clients with four rows in R^20."""
  return np.random.default_rng(5).standard_normal((3, 4, 21)) / 5.0


def test_the_clients_of_a_seed():
  made = regression.clients(3)
  assert made.shape == (20, 30, 1001)
  np.testing.assert_allclose(np.linalg.norm(made[:, :, :-1], axis=2), 1)
  np.testing.assert_allclose(np.linalg.norm(made[:, :, -1], axis=1), 1)
  # All F_i can be 0 together, for there are more weights than examples.
  rows = made.reshape(-1, 1001)
  solution = rows[:, :-1].T @ np.linalg.solve(rows[:, :-1] @ rows[:, :-1].T, -rows[:, -1])
  assert regression.objective(made, solution) == pytest.approx(0, abs=1e-12)
  assert regression.objective(made, np.zeros(1000)) == pytest.approx(1)


@pytest.mark.parametrize('algorithm', ['fedavg', 'fedexp'])
def test_paths(data, algorithm):
  expected = [np.zeros(20)]
  for _ in range(4):
    models = np.tile(expected[-1], (3, 1))
    for _ in range(5):
      residuals = np.einsum('krd,kd->kr', data[:, :, :-1], models) + data[:, :, -1]
      models = models - 0.3 * np.einsum('krd,kr->kd', data[:, :, :-1], residuals)
    updates = models - expected[-1]
    mean, step = updates.mean(axis=0), 1.0
    if algorithm == 'fedexp':
      step = max(1.0, np.mean(np.sum(updates**2, axis=1)) / (2 * (mean @ mean + 1e-12)))
    expected.append(expected[-1] + 2.0 * step * mean)
  found = minimisation.path(
    regression.Loss(np.zeros(20)),
    list(data),
    algorithm,
    rounds=4,
    local_steps=5,
    step=0.3,
    server_step=2.0,
    hyperparameters={'epsilon': 1e-12} if algorithm == 'fedexp' else {},
  )
  np.testing.assert_allclose(found, expected, atol=1e-5)

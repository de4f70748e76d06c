"""What Scaffnew is measured by on logistic regression, against recursions written out."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import numpy as np
import pytest
import scipy.optimize

from baselines import minimisation
from baselines.mishchenko2022_proxskip import logistic

STEPS, RATE = 3, 0.5


@pytest.fixture(scope='module')
def f() -> logistic.Objective:
  """Three workers with five rows of four numbers, κ = 20."""
  rows = np.random.default_rng(5).standard_normal((3, 5, 4))
  return logistic.Objective.of(rows.astype(np.float32).astype(np.float64), 20.0)


def _path(f, algorithm, rounds=6, local_steps=STEPS):
  return minimisation.path(
    logistic.Loss(4, f.decay),
    list(f.workers),
    algorithm,
    rounds=rounds,
    local_steps=local_steps,
    step=RATE,
  )


def test_gradients_and_condition(f):
  w = np.random.default_rng(6).standard_normal(4)
  numeric = scipy.optimize.approx_fprime(w, lambda w: f.value(w)[0], 1e-7)
  np.testing.assert_allclose(f.value(w)[1], numeric, atol=1e-5)
  mean = np.mean([f.worker(own, w)[1] for own in f.workers], axis=0)
  np.testing.assert_allclose(f.value(w)[1], mean)
  assert f.smoothness / f.decay == pytest.approx(20.0)
  for own in f.workers:
    hessian = own.T @ own / 5 / 4 + f.decay * np.eye(4)
    assert np.linalg.eigvalsh(hessian)[-1] <= f.smoothness * (1 + 1e-9)


def test_optimum_and_potential(f):
  np.testing.assert_allclose(f.value(f.optimum)[1], 0, atol=1e-8)
  assert f.excess(f.optimum) == 0 < f.excess(f.optimum + 0.1)
  variates = np.array([f.worker(own, f.optimum)[1] for own in f.workers])
  np.testing.assert_allclose(variates.sum(axis=0), 0, atol=1e-8)
  far = (f.potential(4) - f.potential(0)) / (4 / f.smoothness) ** 2
  assert far == pytest.approx(np.mean([v @ v for v in variates]))
  assert f.potential(0) == pytest.approx(f.distance(np.zeros(4)))


def test_one_step_of_fedavg_is_gradient_descent(f):
  expected = [np.zeros(4)]
  for _ in range(6):
    expected.append(expected[-1] - RATE * f.value(expected[-1])[1])
  np.testing.assert_allclose(_path(f, 'fedavg', local_steps=1), expected, atol=1e-6)


def test_scaffnew_as_in_the_paper(f):
  """Algorithm 2 with a meeting after every third step; a wrong sign of h, or p, would show."""
  x, h = np.zeros(4), np.zeros((3, 4))
  expected = [x]
  for _ in range(6):
    own = np.tile(x, (3, 1))
    for _ in range(STEPS):
      gradients = np.array([f.worker(f.workers[i], own[i])[1] for i in range(3)])
      own = own - RATE * (gradients - h)
    x = own.mean(axis=0)
    h = h + (x - own) / (STEPS * RATE)
    expected.append(x)
  np.testing.assert_allclose(_path(f, 'scaffnew'), expected, atol=1e-5)


def test_path_ends_where_it_has_arrived(f):
  points = minimisation.path(
    logistic.Loss(4, f.decay),
    list(f.workers),
    'scaffnew',
    rounds=200,
    local_steps=STEPS,
    step=RATE,
    arrived=lambda w: f.excess(w) < 1e-4,
  )
  assert f.excess(points[-1]) < 1e-4 <= f.excess(points[-2])

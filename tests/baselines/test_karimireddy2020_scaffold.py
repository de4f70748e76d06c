"""Figure 3 of SCAFFOLD against its recursions written out."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import numpy as np
import pytest

from baselines.karimireddy2020_scaffold import quadratics


def _local_steps(x, gradients, steps):
  """Both clients' points after K steps from x."""
  points = [x, x]
  for _ in range(steps):
    points = [y - quadratics.STEP * gradient(y) for y, gradient in zip(points, gradients)]
  return np.array(points)


def _gradients(dissimilarity, corrections):
  """Those of x² + G x and -G x, corrected."""
  return [
    lambda y: 2 * y + dissimilarity + corrections[0],
    lambda y: -dissimilarity + corrections[1],
  ]


def test_sgd_shrinks_x_by_a_tenth_a_round():
  expected = quadratics.START * 0.9 ** np.arange(21)
  np.testing.assert_allclose(quadratics.path('fedsgd', 10.0, 1, 20), expected, rtol=1e-5)


@pytest.mark.parametrize('steps', [2, 10])
def test_fedavg(steps):
  expected = [quadratics.START]
  for _ in range(20):
    expected.append(_local_steps(expected[-1], _gradients(10.0, [0, 0]), steps).mean())
  np.testing.assert_allclose(quadratics.path('fedavg', 10.0, steps, 20), expected, rtol=1e-4)


@pytest.mark.parametrize('steps', [2, 10])
def test_scaffold(steps):
  expected, own = [quadratics.START], np.zeros(2)
  for _ in range(20):
    common = own.mean()
    points = _local_steps(expected[-1], _gradients(10.0, common - own), steps)
    own = own - common + (expected[-1] - points) / (steps * quadratics.STEP)
    expected.append(points.mean())
  found = quadratics.path('scaffold', 10.0, steps, 20)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

"""Figure 3 of SCAFFOLD against its recursions written out."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import numpy as np
import pandas as pd
import pytest

from baselines import reproduce
from baselines.karimireddy2020_scaffold import quadratics

FOLDER = reproduce.HERE / 'karimireddy2020_scaffold'


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


def test_figure_against_the_step_is_of_these_functions():
  table = pd.read_csv(FOLDER / 'results' / 'step.csv')
  found = table.set_index(['line', 'step'])['speedup']
  assert list(found['K = 10'].index) == list(quadratics.STEPS)
  assert found['K = 10', 0.3] == pytest.approx(quadratics.speedup(10, 1.0, 0.3), rel=1e-3)
  rows = {claim.claim: claim for claim in reproduce.ledger(FOLDER)}
  for name, steps in (('figure3_k2_g1', 'K = 2'), ('figure3_k10_g1', 'K = 10')):
    assert found[steps, quadratics.STEP] == float(rows[name].ours)


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

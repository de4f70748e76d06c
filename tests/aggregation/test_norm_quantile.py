"""The running quantile against TFF's own, and where the two differ."""

import numpy as np
import pytest
import tensorflow_federated as tff

from fl_research.aggregation import norm_quantile
from tests import contexts


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(1):
    yield


def _track(process, rounds):
  state, reports = process.initialize(), []
  for norms in rounds:
    state = process.next(state, [np.float32(norm) for norm in norms])
    reports.append(float(process.report(state)))
  return reports


def test_equals_tff_where_all_norms_are_positive():
  rounds = np.random.default_rng(0).uniform(0.5, 3.0, size=(10, 7))
  theirs = tff.aggregators.PrivateQuantileEstimationProcess.no_noise(
    initial_estimate=1.0, target_quantile=0.8, learning_rate=0.2, multiplier=2.0, increment=1.0
  )
  ours = norm_quantile.build(1.0, 0.8, 0.2, 2.0, 1.0)
  np.testing.assert_allclose(_track(ours, rounds), _track(theirs, rounds), rtol=1e-5)


def test_finds_the_quantile():
  rng = np.random.default_rng(1)
  reports = _track(norm_quantile.build(0.1, 0.75, 0.2), rng.uniform(0.0, 4.0, size=(200, 50)))
  assert np.mean(reports[-50:]) == pytest.approx(3.0, rel=0.03)


def test_norms_of_zero_and_empty_rounds_do_not_count():
  process = norm_quantile.build(1.0, 0.8, 0.2)
  positive = _track(process, [[0.5, 2.0], [0.7, 0.9]])
  with_zeros = _track(process, [[0.5, 0.0, 2.0, 0.0], [0.0], [], [0.7, 0.9, 0.0]])
  assert with_zeros[0] == with_zeros[1] == with_zeros[2] == positive[0]
  assert with_zeros[3] == positive[1]


@pytest.mark.parametrize('arguments', [(0.0, 0.5, 0.2), (1.0, 1.1, 0.2), (1.0, 0.5, 0.0)])
def test_refuses_what_is_outside_its_domain(arguments):
  with pytest.raises(ValueError, match='initial'):
    norm_quantile.build(*arguments)

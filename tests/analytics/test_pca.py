"""Principal components agree with the singular vectors of the pooled points."""

import numpy as np
import pytest

from fl_research.registry import UsageError
from tests import contexts
from tests.analytics import clients


def found_by(**flags):
  setup = clients.setup(analysis='pca', pca_components=2, **flags)
  with contexts.fused(chunks=3):
    analysis = clients.build(setup)
    state = analysis.step(analysis.initial(), 1, np.arange(4))
  return setup, analysis.measures(state), analysis.table(state)


@pytest.mark.parametrize('flags', [{}, {'secure_aggregation': 'clear', 'secure_sum_bound': 500.0}])
def test_agrees_with_the_pooled_points(flags):
  setup, row, table = found_by(**flags)
  x = setup.data.train.pooled()['x'].astype(np.float64)
  mean = x.mean(axis=0)
  _, values, vectors = np.linalg.svd(x - mean)
  vector = lambda line: np.array([line[f'x{i}'] for i in range(3)])
  np.testing.assert_allclose(vector(table[0]), mean, atol=1e-5)
  assert [line['component'] for line in table] == ['mean', 1, 2]
  for line, value, own in zip(table[1:], values, vectors):
    assert line['variance'] == pytest.approx(value**2 / len(x), abs=1e-5)
    assert line['share'] == pytest.approx(value**2 / np.sum(values**2), abs=1e-5)
    sign = np.sign(own[np.abs(own).argmax()])
    np.testing.assert_allclose(vector(line), sign * own, atol=1e-5)
  assert row['pca/explained'] == pytest.approx(np.sum(values[:2] ** 2) / np.sum(values**2))
  for name, points in (('train_set', x), ('eval', setup.data.test['x'])):
    left = (points - mean) @ vectors[2]
    assert row[f'{name}/residual'] == pytest.approx(np.mean(left**2), abs=1e-4)


def test_refuses_what_does_not_fit():
  with pytest.raises(UsageError, match='--pca_components=4: points have 3 dimensions'):
    clients.build(clients.setup(analysis='pca', pca_components=4))
  clients.build(clients.setup(analysis='pca', pca_components=3))

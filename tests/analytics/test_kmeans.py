"""K-means by rounds agrees with Sculley's steps, in the clear and by secure sums."""

import numpy as np
import pytest

from fl_research.registry import UsageError
from tests import contexts
from tests.analytics import clients
from tests.oracles import k_means


def states(rounds=3, **flags):
  """The setup, and (centres, weights) after each round of everybody but one client."""
  setup = clients.setup(analysis='kmeans', kmeans_clusters=3, **flags)
  analysis = clients.build(setup)
  state = analysis.initial()
  found = [analysis._centres(state)]
  for number in range(1, rounds + 1):
    state = analysis.step(state, number, cohort_of(number))
    found.append(analysis._centres(state))
  return setup, found


def cohort_of(number):
  return np.delete(np.arange(4), number % 4)


@pytest.mark.parametrize('secure', ['none', 'clear'])
def test_agrees_with_the_paper(secure):
  flags = {'secure_sum_bound': 100.0} if secure == 'clear' else {}
  with contexts.fused(chunks=1):
    setup, found = states(secure_aggregation=secure, **flags)
  centres, counts = found[0]
  assert (counts == 1).all()
  for number in (1, 2, 3):
    points = np.concatenate([setup.data.train.examples(k)['x'] for k in cohort_of(number)])
    centres, counts = k_means.mini_batch(centres, counts, points)
    np.testing.assert_allclose(found[number][0], centres, atol=1e-5)
    np.testing.assert_array_equal(found[number][1], counts)


def test_starts_at_different_examples_or_where_tff_does():
  with contexts.fused(chunks=1):
    setup, found = states(rounds=0)
    _, normal = states(rounds=0, kmeans_start='normal')
    _, other = states(rounds=0, seed=1)
  x = setup.data.train.pooled()['x']
  rows = [int(np.flatnonzero((x == centre).all(axis=1))[0]) for centre in found[0][0]]
  assert len(set(rows)) == 3
  assert not any((x == centre).all(axis=1).any() for centre in normal[0][0])
  assert not np.array_equal(other[0][0], found[0][0])


def test_measures_and_table():
  with contexts.fused(chunks=1):
    setup = clients.setup(analysis='kmeans', kmeans_clusters=3)
    analysis = clients.build(setup)
    state = analysis.step(analysis.initial(), 1, np.arange(4))
  row, table = analysis.measures(state), analysis.table(state)
  centres = np.array([[line[f'x{i}'] for i in range(3)] for line in table])
  for name, examples in (('train_set', setup.data.train.pooled()), ('eval', setup.data.test)):
    owners, distances = k_means.nearest(examples['x'], centres)
    assert row[f'{name}/inertia'] == pytest.approx(np.mean(distances**2), abs=1e-5)
    most = [np.bincount(examples['y'][owners == k], minlength=4).max() for k in range(3)]
    assert row[f'{name}/purity'] == pytest.approx(sum(most) / len(owners))
  # Each start counts as one point.
  assert sum(line['weight'] for line in table) == sum(clients.SIZES) + 3
  assert row['kmeans/empty'] == 0


def test_refuses_what_does_not_fit():
  with pytest.raises(UsageError, match='--kmeans_clusters=30: the clients have 29 examples'):
    clients.build(clients.setup(analysis='kmeans', kmeans_clusters=30))
  with pytest.raises(UsageError, match='--kmeans_start=x: accepted is examples or normal'):
    clients.settings(analysis='kmeans', kmeans_start='x')

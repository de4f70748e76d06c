"""k-FED agrees with algorithms 1 and 2 of the paper."""

import numpy as np
import pytest
from sklearn import cluster
import tensorflow as tf

from fl_research.analytics import kfed
from fl_research.registry import UsageError
from tests import contexts
from tests.analytics import clients
from tests.oracles import k_means


@pytest.fixture(scope='module')
def run():
  """(setup, analysis, state) of one round of everybody."""
  setup = clients.setup(analysis='kfed', kfed_clusters=4, kfed_local_clusters=3)
  with contexts.fused(chunks=2):
    analysis = clients.build(setup)
    return setup, analysis, analysis.step(analysis.initial(), 1, np.arange(4))


def local_centres(setup, analysis):
  for client in range(4):
    points = setup.data.train.examples(client)['x']
    centres, sizes = k_means.awasthi_sheffet(points, analysis._chances(client, 1))
    yield centres[sizes > 0]


def test_agrees_with_the_paper(run):
  """Of clients of 7, 12, 1 and 9 points; the one of one point sends one centre."""
  setup, analysis, state = run
  by_client = list(local_centres(setup, analysis))
  assert len(by_client[2]) == 1
  centres, sizes = k_means.k_fed(by_client, 4)
  np.testing.assert_allclose(state.centres, centres, atol=1e-5)
  np.testing.assert_array_equal(state.sizes, sizes)
  assert analysis.measures(state)['kfed/local_centres'] == sum(map(len, by_client))


def test_before_its_round_it_says_nothing(run):
  _, analysis, state = run
  before = analysis.measures(analysis.initial())
  assert set(before) == set(analysis.measures(state))
  assert before.pop('kfed/local_centres') == 0 and set(before.values()) == {None}


def test_a_client_ends_where_lloyd_does():
  """From the same start as scikit-learn's, which also goes on until nobody changes clusters."""
  data = clients.examples(60, seed=5)['x']
  start = data[:4]
  centres, sizes = kfed.lloyd(tf.constant(data), tf.constant(start), 100)
  theirs = cluster.KMeans(4, init=start, n_init=1, tol=0.0, algorithm='lloyd').fit(data)
  np.testing.assert_allclose(centres, theirs.cluster_centers_, atol=1e-5)
  np.testing.assert_array_equal(sizes, np.bincount(theirs.labels_, minlength=4))


def test_a_client_begins_at_points_drawn_by_their_distance():
  data = clients.examples(40, seed=6)['x']
  generator = np.random.default_rng(0)
  for _ in range(20):
    chances = generator.random(4, np.float32)
    rows = kfed.plus_plus(tf.constant(data), tf.constant(chances)).numpy().tolist()
    assert rows == k_means._plus_plus(data.astype(np.float64), chances)


def test_a_client_stops_after_so_many_steps():
  data = clients.examples(60, seed=7)['x']
  start = data[:4]
  owners, _ = k_means.nearest(data, start)
  once = np.stack([data[owners == k].mean(axis=0) for k in range(4)])
  centres, _ = kfed.lloyd(tf.constant(data), tf.constant(start), 1)
  np.testing.assert_allclose(centres, once, atol=1e-5)
  twice, _ = kfed.lloyd(tf.constant(data), tf.constant(start), 2)
  assert not np.allclose(twice, once)


def test_the_server_agrees_with_the_paper_on_many_centres():
  generator = np.random.default_rng(0)
  for _ in range(20):
    local = generator.normal(size=(15, 4))
    centres, sizes = k_means.k_fed([local[:2], local[2:]], 6)
    found = kfed.clustered(local.astype(np.float32), first=2, clusters=6)
    np.testing.assert_allclose(found.centres, centres, atol=1e-5)
    np.testing.assert_array_equal(found.sizes, sizes)


def test_the_server_takes_the_farthest_until_it_has_k():
  """A first client of one cluster: the others' are found, however many clients have them."""
  local = np.array([[0.0, 0], [0, 1], [0.5, 0], [10, 0], [10, 1], [0, 10]], np.float32)
  found = kfed.clustered(local, first=1, clusters=3)
  assert sorted(map(tuple, found.centres.tolist())) == [(0, 10), (1 / 6, 1 / 3), (10, 0.5)]
  # Of more centres than K at the first client, the first K count.
  assert len(kfed.clustered(local, first=5, clusters=2).centres) == 2


def test_refuses_what_does_not_fit():
  analysis = clients.build(clients.setup(analysis='kfed', kfed_clusters=8))
  assert (analysis.numbers_up, analysis.numbers_down) == (2 * (3 + 1), 0)
  with pytest.raises(UsageError, match='--kfed_clusters=9: the clients send 8 centres in all'):
    clients.build(clients.setup(analysis='kfed', kfed_clusters=9))

"""CFL against its oracle and FedAvg, and its split against all splits there are."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from fl_research import optimizers, registry
from fl_research.algorithms.clusters import cfl
from fl_research.round import client as client_lib
from fl_research.round import server_half
from tests import contexts
from tests.algorithms import harness
from tests.oracles import cfl as oracle
from tests.oracles import flat

START = harness.model().initial_weights[0]
# ε_1, ε_2 and the largest number of clusters, and what becomes of `_rounds` with them.
CASES = {
  # The first round's mean is too long, and then there are two splits.
  (0.4, 0.2, 3): [[[0, 1, 2]], [[0, 1], [2]], [[0], [2], [1]]],
  # After the first split no delta is long enough for another one.
  (0.8, 0.7, 3): [[[0, 2], [1]]] * 3,
  # There may not be another one.
  (0.8, 0.5, 2): [[[0, 2], [1]]] * 3,
}
NO_THIRD = (0.8, 0.5, 2)


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


@functools.cache
def _process(mean_norm, max_norm, max_clusters):
  method = cfl.build(max_clusters=max_clusters, mean_norm=mean_norm, max_norm=max_norm)
  return harness.build(method)


def _rounds():
  """Clients of two kinds, 1 apart from 0 and 2: all examples but the first are called 0, or 1."""
  rounds = harness.cohorts(epochs=2)
  for data in (data for cohort in rounds for data in cohort):
    data['examples']['y'][1:] = int(data['client'] == 1)
  return rounds


def _run(process, rounds):
  """The server's part of the state, and all models, after every round."""
  state, servers, history = process.initialize(), [], []
  for cohort in rounds:
    state = process.run_round(state, cohort).state
    servers.append(state['server'])
    history.append(list(process.models(state).values()))
  return servers, history


@pytest.mark.parametrize('case', CASES)
def test_equals_oracle(case):
  rounds = _rounds()
  expected = oracle.run(START, rounds, harness.RATE, *case)
  assert [clusters for _, clusters in expected] == CASES[case]
  servers, history = _run(_process(*case), rounds)
  was, before = [0] * 3, [START]
  for server, models, (of_clusters, clusters) in zip(servers, history, expected, strict=True):
    assert int(server['method']['count']) == len(clusters)
    where = [next(c for c, members in enumerate(clusters) if k in members) for k in range(3)]
    np.testing.assert_array_equal(server['method']['cluster_of'], where)
    harness.assert_same(models[: len(clusters)], of_clusters)
    # The shortest of the clusters' steps; a new cluster goes on from the model of the old one.
    steps = [flat.join(models[where[k]]) - flat.join(before[was[k]]) for k in range(3)]
    shortest = min(map(np.linalg.norm, steps))
    np.testing.assert_allclose(server['method']['mean_norm'], shortest, rtol=1e-4)
    was, before = where, models


def test_one_cluster_is_fed_avg():
  rounds = harness.cohorts(epochs=2)
  servers, history = _run(_process(0.8, 0.5, 1), rounds)
  averaged = harness.run(harness.plain(), rounds)
  harness.assert_same([models[0] for models in history], averaged, 1e-6)
  start = flat.join(START)
  mean = np.linalg.norm(flat.join(averaged[0]) - start)
  longest = max(np.linalg.norm(flat.descend(start, d, harness.RATE)[0] - start) for d in rounds[0])
  found = [servers[0]['method'][name] for name in ('mean_norm', 'max_norm')]
  np.testing.assert_allclose(found, [mean, longest], rtol=1e-5)


def test_clients_use_the_model_of_their_cluster():
  process, rounds = _process(*NO_THIRD), _rounds()
  servers, history = _run(process, rounds)
  server = server_half.server_of(tf.nest.map_structure(tf.constant, servers[-1]))
  x = np.eye(4, dtype=np.float32)
  for k, data in enumerate(rounds[0]):
    client = client_lib.Client(harness.model(), optimizers.build('sgd', 0.1, {}), data)
    kernel, bias = history[-1][int(k == 1)]
    found = process.method.predictor(server, client)(tf.constant(x))
    np.testing.assert_allclose(found, x @ kernel + bias, rtol=1e-5, atol=1e-6)


def test_who_is_absent_from_a_split_stays():
  rounds = _rounds()[:1]
  rounds[0] = rounds[0][1:]  # 1 is the first client, 2 is parted from it.
  servers, _ = _run(_process(*NO_THIRD), rounds)
  np.testing.assert_array_equal(servers[0]['method']['cluster_of'], [0, 0, 1])


@pytest.mark.parametrize('seed', range(4))
def test_split_is_the_best_of_all(seed):
  rng = np.random.default_rng(seed)
  similarity = oracle.cosines(rng.normal(size=(8, 3)))
  members = [1, 2, 3, 5, 6, 7]
  member = np.isin(np.arange(8), members)
  parted = cfl.bipartition(tf.constant(similarity), tf.constant(member)).numpy()
  leaving = np.flatnonzero(parted)
  assert len(leaving) and set(leaving) <= set(members) - {1}
  staying = [k for k in members if k not in leaving]
  expected = oracle.cross(similarity, *oracle.best_split(similarity, members))
  assert oracle.cross(similarity, staying, leaving) == expected


def test_those_who_are_alike_are_parted_all_the_same():
  alike = tf.ones([4, 4], tf.float64)
  parted = cfl.bipartition(alike, tf.constant([False, True, True, True])).numpy()
  assert list(parted) == [False, False, True, True]


def test_a_part_of_the_clients_is_refused():
  method = cfl.build(max_clusters=2, mean_norm=0.4, max_norm=1.6)
  with pytest.raises(registry.UsageError, match=r'--clients_per_round=2: .*cfl.*accepted is 3, t'):
    harness.build(method, cohort_size=2)

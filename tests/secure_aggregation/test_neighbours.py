"""Who masks with whom, and how many are needed for that."""

import math

import pytest

from fl_research.secure_aggregation import neighbours, thresholds
from tests.secure_aggregation import sessions


def test_each_client_has_k_neighbours_which_have_it():
  clients = range(10, 31)
  graph = neighbours.graph(clients, sessions.of(degree=6))
  assert sorted(graph) == list(clients)
  for client, own in graph.items():
    assert len(set(own)) == 6 and client not in own
    assert all(client in graph[other] for other in own)


def test_without_degree_or_with_few_clients_all_are_neighbours():
  everyone = {0: [1, 2], 1: [0, 2], 2: [0, 1]}
  for degree in (None, 2, 8):
    assert neighbours.graph([2, 0, 1], sessions.of(degree=degree)) == everyone


def test_the_graph_is_that_of_clients_session_and_round():
  one = neighbours.graph(range(30), sessions.of(degree=4))
  assert neighbours.graph(range(29, -1, -1), sessions.of(degree=4)) == one
  assert neighbours.graph(range(30), sessions.of(degree=4, round_num=6)) != one


def test_the_bounds_by_counting():
  """Of 5 clients with 2 neighbours each, 2 corrupt, or 2 silent, or 2 gone."""
  both_of_four = 1 / math.comb(4, 2)
  assert thresholds.insecure(5, 2, 2, 2) == pytest.approx(5 * both_of_four)
  assert thresholds.disconnected(5, 2, 4) == pytest.approx(5 * both_of_four * 4 / 10 * 3 / 2)
  # A silent client needs both its neighbours among the 3 of 4 others that are left, a survivor but
  # one among the 2 of 4.
  assert thresholds.unfinished(5, 2, 2, 2) == pytest.approx(2 * 3 / 6 + 3 * 1 / 6)


@pytest.mark.parametrize('clients', [50, 500])
def test_a_plan_holds_its_bounds_and_fewer_neighbours_do_not(clients):
  gone = math.ceil(0.2 * clients)
  degree, threshold = thresholds.plan(clients)

  def fails(k, t):
    insecure = thresholds.insecure(clients, gone, k, t)
    return insecure + thresholds.disconnected(clients, 2 * gone, k) > 2.0**-thresholds.SECURITY

  assert not fails(degree, threshold)
  assert thresholds.unfinished(clients, gone, degree, threshold) <= 2.0**-thresholds.CORRECTNESS
  one_more = thresholds.unfinished(clients, gone, degree, threshold + 1)
  assert one_more > 2.0**-thresholds.CORRECTNESS
  fewer = degree - 2
  finishing = [
    t
    for t in range(2, fewer + 1)
    if thresholds.unfinished(clients, gone, fewer, t) <= 2.0**-thresholds.CORRECTNESS
  ]
  assert all(fails(fewer, t) for t in finishing)


def test_few_clients_are_all_neighbours_and_too_few_have_no_plan():
  assert thresholds.plan(3) == (None, 2)
  assert thresholds.plan(10) == (None, 8)
  with pytest.raises(ValueError, match='2 clients; needed are 3'):
    thresholds.plan(2)
  with pytest.raises(ValueError, match='4 clients, of whom 2 may be corrupt and 2 fall silent'):
    thresholds.plan(4, corrupt=0.4, silent=0.5)

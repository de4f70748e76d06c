"""A server that is given all updates, and takes their mean itself."""

import numpy as np
import pytest
import tensorflow as tf

from fl_research.aggregation import side_by_side, stacked
from fl_research.algorithms.optimization import fed_avg
from fl_research.population import attacks
from tests import contexts
from tests.aggregation import seven_clients
from tests.algorithms import harness


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


class _Mean(stacked.StackedRule):
  def combine(self, updates, weights):
    return stacked.weighted_sum(updates, weights / tf.reduce_sum(weights))


class _OwnMean(fed_avg.FedAvg):
  """FedAvg whose server averages by itself, and writes down of whom."""

  combiner = side_by_side.SideBySide()

  def initial_own(self, weights):
    return tf.zeros([seven_clients.COUNT])

  def finish(self, server, combined):
    beside = combined.update
    seen = tf.reduce_sum(tf.one_hot(beside.client, seven_clients.COUNT), axis=0)
    update = _Mean().combine(beside.update, beside.weight)
    return self.step(server._replace(own=seen), update)


def test_all_updates_are_given_in_the_order_of_clients():
  process, rounds = harness.build(_OwnMean()), seven_clients.cohorts()
  rounds[1] = [rounds[1][0], seven_clients.broken(rounds[1][1]), *rounds[1][2:]]
  history = harness.run(process, rounds)
  harness.assert_same(history, harness.run(seven_clients.mean(), rounds), 1e-6)
  harness.assert_same(history, harness.run(process, [cohort[::-1] for cohort in rounds]), 0)
  state = process.run_round(process.initialize(), rounds[1]).state
  np.testing.assert_array_equal(state['server']['method'], [1, 0, 1, 1, 1, 1, 1])


def test_those_who_count_one_are_given_too():
  rounds = seven_clients.cohorts(1)
  found = harness.run(harness.build(_OwnMean(), client_weighting='uniform'), rounds)
  harness.assert_same(found, harness.run(harness.plain('uniform'), rounds), 1e-6)


def test_nobody_is_no_step():
  process, [cohort] = harness.build(_OwnMean()), seven_clients.cohorts(1)
  history = harness.run(process, [[seven_clients.broken(cohort[0])]])
  harness.assert_same(history, [harness.model().initial_weights[0]], 0)


def test_attackers_who_collude_are_seen_with_the_others():
  rounds = seven_clients.cohorts(1)
  attack = {'attack': attacks.build('alie', None, {}), 'attackers': (1, 2)}
  found = harness.run(harness.build(_OwnMean(), **attack), rounds)
  expected = harness.run(harness.build(fed_avg.build(), aggregator=_Mean(), **attack), rounds)
  harness.assert_same(found, expected, 1e-6)
  honest = harness.run(seven_clients.mean(), rounds)
  assert np.abs(found[0][0] - honest[0][0]).max() > 1e-3

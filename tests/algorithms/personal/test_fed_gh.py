"""FedGH against its oracle and LG-FedAvg."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from fl_research import models, optimizers, registry
from fl_research.algorithms.personal import fed_gh, lg_fed_avg
from fl_research.round import client as client_lib
from fl_research.round import server_half
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_gh as oracle
from tests.oracles import of_features
from tests.oracles import softmax_regression as problem

HEAD_RATE = 0.5


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


START = harness.two_layers().initial_weights[0]


@functools.cache
def _run(rate):
  """The process, weights by round, and what clients keep."""
  process = harness.build(fed_gh.build(learning_rate=rate), model=harness.two_layers())
  return process, *harness.run_with_clients(process, harness.uneven_rounds())


def test_equals_its_oracle():
  process, history, kept = _run(HEAD_RATE)
  expected, extractors = oracle.run(START, harness.uneven_rounds(), harness.RATE, HEAD_RATE)
  harness.assert_same(history, [[*START[:2], *head] for head in expected])
  harness.assert_same(
    [kept[client]['method'] for client in range(3)], [extractors[client] for client in range(3)]
  )
  # Up go means, which are there and what a client counts; down the head and the rate's factor.
  assert process.bytes_up_per_client == 4 * (problem.CLASSES * (8 + 1) + 1)
  assert process.bytes_down_per_client == 4 * ((8 + 1) * problem.CLASSES + 1)
  assert max(np.abs(a - b).max() for a, b in zip(history[-1], START)) > 0.01


def test_a_head_that_does_not_learn_is_that_of_lg_fed_avg_without_server_steps():
  _, history, kept = _run(0.0)
  still = optimizers.build('sgd', 0.0, {})
  process = harness.build(
    lg_fed_avg.build(private_layers='all_but_last'),
    model=harness.two_layers(),
    server_optimizer=still,
  )
  _, alone = harness.run_with_clients(process, harness.uneven_rounds())
  harness.assert_same(history, [START] * len(history), 0)
  for client in range(3):
    harness.assert_same([kept[client]['method']], [alone[client]['method']], 1e-6)


def test_answers_with_the_head_over_the_clients_extractor():
  process, history, kept = _run(HEAD_RATE)
  own, x = kept[2]['method'], problem.clients()[2]['x']
  server = server_half.Server(tuple(map(tf.constant, history[-1])), (), ())
  state = tf.nest.map_structure(tf.constant, own)
  client = client_lib.Client(harness.two_layers(), optimizers.build('sgd', 0.1, {}), None, state)
  found = process.method.predictor(server, client)(tf.constant(x))
  head = history[-1][2:]
  expected = of_features.features(own, x) @ head[0] + head[1]
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_what_has_no_head_to_learn_is_refused():
  with pytest.raises(registry.UsageError, match='accepted are tasks with one'):
    harness.build(fed_gh.build(learning_rate=0.1), model=harness.tagger())
  last = harness.two_layers().weight_names[-1].rpartition('/')[0]
  frozen = models.build('mlp', harness.two_layers().spec, 3, freeze=last)
  with pytest.raises(registry.UsageError, match=r'=fedgh: .*do not --freeze its last layer'):
    harness.build(fed_gh.build(learning_rate=0.1), model=frozen)

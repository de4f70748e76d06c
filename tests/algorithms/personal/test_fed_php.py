"""FedPHP against its oracle, and FedAvg's."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from fl_research import optimizers, registry
from fl_research.algorithms.personal import fed_php
from fl_research.round import client as client_lib
from fl_research.round import server_half
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_php as oracle
from tests.oracles import flat
from tests.oracles import softmax_regression as problem

START = harness.model().initial_weights[0]


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _rounds():
  """The last client is away in the second of four rounds: the others reach the largest momentum."""
  rounds = harness.cohorts(epochs=2, rounds=4)
  rounds[1] = rounds[1][:2]
  return rounds


@functools.cache
def _run(taught, temperature, momentum, growth):
  method = fed_php.build(taught=taught, temperature=temperature, momentum=momentum, growth=growth)
  process = harness.build(method)
  history, kept = harness.run_with_clients(process, _rounds())
  return process, history, {k: state['method'] for k, state in kept.items()}


def test_equals_oracle():
  _, history, kept = _run(0.4, 2.0, 0.9, 2)
  expected, inherited = oracle.run(START, _rounds(), harness.RATE, 0.4, 2.0, 0.9, 2)
  harness.assert_same(history, expected)
  harness.assert_same([kept[k]['model'] for k in range(3)], [inherited[k] for k in range(3)])


def test_untaught_it_is_fed_avg_whose_clients_keep_their_last_model():
  _, history, kept = _run(0.0, 2.0, 0.0, 2)
  plain = [flat.join(START)]
  for cohort in _rounds():
    plain.append(plain[-1] + flat.mean_delta(plain[-1], cohort, harness.RATE))
  harness.assert_same(history, [flat.split(w) for w in plain[1:]], 1e-6)
  before = plain[-2]
  last = [flat.split(flat.descend(before, data, harness.RATE)[0]) for data in _rounds()[-1]]
  harness.assert_same([kept[k]['model'] for k in range(3)], last)


def test_answers_with_the_inherited_model():
  process, history, kept = _run(0.4, 2.0, 0.9, 2)
  x = problem.clients()[2]['x']
  server = server_half.Server(tuple(map(tf.constant, history[-1])), (), ())
  state = tf.nest.map_structure(tf.constant, kept[2])
  client = client_lib.Client(harness.model(), optimizers.build('sgd', 0.1, {}), None, state)
  kernel, bias = kept[2]['model']
  found = process.method.predictor(server, client)(tf.constant(x))
  np.testing.assert_allclose(found, x @ kernel + bias, rtol=1e-5, atol=1e-5)


def test_tasks_without_classes_are_refused():
  method = fed_php.build(taught=0.1, temperature=4.0, momentum=0.9, growth=10)
  with pytest.raises(registry.UsageError, match=r'--algorithm=fedphp: .* accepted are tasks with'):
    harness.build(method, model=harness.tagger())

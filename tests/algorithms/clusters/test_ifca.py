"""IFCA against its oracle, FedAvg and FedSGD."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import client_data, optimizers
from fl_research.algorithms.clusters import ifca
from fl_research.algorithms.optimization import fed_sgd
from fl_research.round import client as client_lib
from fl_research.round import server_half
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fairness, flat
from tests.oracles import ifca as oracle


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _server(rate):
  return tff.learning.optimizers.build_sgdm(rate)


@functools.cache
def _process(clusters=3, averaging='models', server_rate=1.0):
  return harness.build(
    ifca.build(clusters=clusters, averaging=averaging),
    server_optimizer=_server(server_rate),
    client_weighting='uniform',
  )


def _rounds():
  """Clients of two kinds: all examples but the first are called 0 by one, and 1 by the others."""
  rounds = harness.cohorts(epochs=2)
  for data in (data for cohort in rounds for data in cohort):
    data['examples']['y'][1:] = min(data['client'], 1)
  return rounds


def _run(process, rounds):
  """All models after every round, and the shares of the clients that chose each."""
  state, history, shares = process.initialize(), [], []
  columns = [c for c in process.report_columns if c.startswith('method/share_')]
  for cohort in rounds:
    result = process.run_round(state, cohort)
    state = result.state
    history.append(list(process.models(state).values()))
    report = dict(zip(process.report_columns, np.asarray(result.measured['report']['values']).T))
    shares.append([report[c].mean() for c in columns])
  return history, shares


def _assert_same(first, second):
  for a, b in zip(first, second, strict=True):
    harness.assert_same(a, b)


@pytest.mark.parametrize(('averaging', 'rate'), [('models', 0.5), ('gradients', 0.3)])
def test_equals_oracle(averaging, rate):
  process, rounds = _process(2, averaging, rate), _rounds()
  rounds[1] = rounds[1][:1]  # The other model is nobody's.
  starts = list(process.models(process.initialize()).values())
  expected, choices = oracle.run(starts, rounds, harness.RATE, averaging, rate)
  assert any(len(set(chosen)) == 2 for chosen in choices), choices
  history, shares = _run(process, rounds)
  _assert_same(history, expected)
  expected_shares = [np.bincount(chosen, minlength=2) / len(chosen) for chosen in choices]
  np.testing.assert_allclose(shares, expected_shares, rtol=1e-6)


def test_one_model_is_fed_avg():
  rounds = harness.cohorts(epochs=2)
  history, _ = _run(_process(1), rounds)
  averaged = harness.run(harness.plain('uniform'), rounds)
  harness.assert_same([models[0] for models in history], averaged, 1e-6)


def test_gradients_of_one_model_are_fed_sgd():
  rounds = harness.cohorts(batch_size=client_data.FULL_BATCH)
  history, _ = _run(_process(1, 'gradients', 0.3), rounds)
  sgd = harness.build(fed_sgd.build(), server_optimizer=_server(0.3), client_weighting='uniform')
  harness.assert_same([models[0] for models in history], harness.run(sgd, rounds), 1e-6)


def test_models_start_from_the_same_numbers_in_different_orders():
  process = _process()
  models = process.models(process.initialize())
  assert list(models) == ['model', 'model_2', 'model_3']
  harness.assert_same([models['model']], [harness.model().initial_weights[0]], 0)
  kernels = [model[0] for model in models.values()]
  for kernel in kernels[1:]:
    np.testing.assert_array_equal(np.sort(kernel, None), np.sort(kernels[0], None))
  assert np.abs(kernels[1] - kernels[2]).max() > 0.1 < np.abs(kernels[1] - kernels[0]).max()


def test_clients_use_the_model_of_least_loss():
  process, [cohort] = _process(), _rounds()[:1]
  state = process.initialize()
  models = [flat.join(model) for model in process.models(state).values()]
  x = tf.constant(np.eye(4, dtype=np.float32))
  chosen = set()
  for data in cohort:
    best = int(np.argmin([fairness.loss(model, data) for model in models]))
    client = client_lib.Client(harness.model(), optimizers.build('sgd', 0.1, {}), data)
    found = process.method.predictor(server_half.server_of(state['server']), client)(x)
    kernel, bias = flat.split(models[best])
    np.testing.assert_allclose(found, np.eye(4) @ kernel + bias, rtol=1e-5, atol=1e-6)
    chosen.add(best)
  assert len(chosen) > 1

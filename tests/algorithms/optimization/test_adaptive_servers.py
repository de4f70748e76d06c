"""FedAdagrad, FedAdam, FedYogi and FedAvgM against their oracles and against FedAvg."""

import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import algorithms, registry
from fl_research.algorithms.optimization import fed_avg_m
from tests import contexts
from tests.algorithms import harness
from tests.oracles import adaptive_server as oracle
from tests.oracles import fed_avg_m as momentum_oracle

SERVER_RATE = 0.3


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _server(rate):
  return tff.learning.optimizers.build_sgdm(rate)


@pytest.fixture(scope='module')
def rounds():
  return harness.cohorts(epochs=2)


@pytest.fixture(scope='module')
def averaged(rounds):
  return harness.run(harness.plain(), rounds)


@pytest.mark.parametrize(
  ('name', 'given'),
  [
    ('fedadagrad', {}),
    ('fedadagrad', {'beta_1': 0.5, 'tau': 0.01, 'initial_accumulator': 0.1}),
    ('fedadam', {}),
    ('fedadam', {'beta_1': 0.3, 'beta_2': 0.5, 'tau': 0.1}),
    ('fedyogi', {}),
    ('fedyogi', {'beta_1': 0.3, 'beta_2': 0.5, 'tau': 0.1, 'initial_accumulator': 0.02}),
  ],
)
def test_equals_oracle(name, given, rounds):
  process = harness.build(algorithms.build(name, given), server_optimizer=_server(SERVER_RATE))
  used = algorithms.ALGORITHMS[name].settings(name, given)
  start = used.pop('initial_accumulator') or used['tau'] ** 2
  expected = oracle.run(
    name,
    harness.model().initial_weights[0],
    rounds,
    harness.RATE,
    SERVER_RATE,
    start=start,
    **used,
  )
  harness.assert_same(harness.run(process, rounds), expected)


@pytest.mark.parametrize('nesterov', [False, True])
def test_momentum_equals_oracle(nesterov, rounds):
  process = harness.build(
    fed_avg_m.build(momentum=0.7, nesterov=nesterov), server_optimizer=_server(SERVER_RATE)
  )
  start = harness.model().initial_weights[0]
  expected = momentum_oracle.run(start, rounds, harness.RATE, SERVER_RATE, 0.7, nesterov)
  harness.assert_same(harness.run(process, rounds), expected)


@pytest.mark.parametrize('nesterov', [False, True])
def test_no_momentum_is_fed_avg(nesterov, rounds, averaged):
  process = harness.build(fed_avg_m.build(momentum=0.0, nesterov=nesterov))
  harness.assert_same(harness.run(process, rounds), averaged, 0)


@pytest.mark.parametrize('name', ['fedadam', 'fedyogi'])
def test_large_tau_is_fed_avg(name, rounds, averaged):
  # The step is η Δ / (√v + τ), where v is Δ² for Adam with β2 = 0. For Yogi v only falls from its
  # start τ² by Δ² a round, so that √v is τ, too, and η must be twice as large.
  tau = 1e4
  given = {'beta_1': 0.0, 'beta_2': 0.0, 'tau': tau}
  rate = tau if name == 'fedadam' else 2.0 * tau
  process = harness.build(algorithms.build(name, given), server_optimizer=_server(rate))
  harness.assert_same(harness.run(process, rounds), averaged, 1e-4)


@pytest.mark.parametrize('name', ['fedadagrad', 'fedadam', 'fedyogi'])
def test_server_rate_follows_its_schedule(name, rounds):
  process = harness.build(algorithms.build(name, {}), server_schedule=lambda _: tf.constant(0.0))
  weights = harness.run(process, rounds[:1])
  harness.assert_same(weights, [harness.model().initial_weights[0]], 0)


def test_initial_accumulator_below_tau_squared_is_refused():
  with pytest.raises(registry.UsageError, match=r'--fedyogi_initial_accumulator=0.001: .*tau'):
    algorithms.build('fedyogi', {'tau': 0.1, 'initial_accumulator': 0.001})

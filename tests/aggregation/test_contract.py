"""What every registered aggregator must keep, whatever its rule, in the whole process."""

import numpy as np
import pytest
import tensorflow_federated as tff

from fl_research import aggregation, runtime
from fl_research.aggregation import combiner
from tests import contexts
from tests.aggregation import seven_clients
from tests.algorithms import harness
from tests.oracles import softmax_regression as problem

NAMES = tuple(aggregation.AGGREGATORS)

# Settings with which the rule has something to do on seven clients.
SETTINGS = {
  'centered_clipping': {'tau': 0.05},
  'krum': {'f': 2},
  'multi_krum': {'f': 2, 'm': 3},
  'norm_bounding': {'bound': 0.05, 'quantile': 0.5},
  'zeroing': {'bound': 0.02, 'quantile': 0.5, 'multiplier': 1.5, 'increment': 0.01},
}


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(1):
    yield


@pytest.fixture(scope='module')
def processes():
  """One process per aggregator, made when it is asked for."""
  made = {}

  def process(name):
    if name not in made:
      made[name] = seven_clients.build(aggregation.build(name, SETTINGS.get(name, {})))
    return made[name]

  return process


def _learnable(rounds):
  """The same clients, with labels that one linear model gives: one's update helps all, too."""
  truth = np.random.default_rng(4).normal(size=(problem.DIMENSION, problem.CLASSES))
  relabelled = lambda e: {**e, 'y': np.argmax(e['x'] @ truth, axis=1).astype(np.int32)}
  return [[{**d, 'examples': relabelled(d['examples'])} for d in cohort] for cohort in rounds]


def _loss(weights, cohort):
  """Mean cross-entropy over all the clients' examples."""
  kernel, bias = weights
  x, y = (np.concatenate([d['examples'][key] for d in cohort]) for key in ('x', 'y'))
  logits = x @ kernel + bias
  return np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y])


@pytest.mark.parametrize('name', NAMES)
def test_three_rounds_lower_the_loss(name, processes):
  rounds = _learnable(seven_clients.cohorts())
  history = harness.run(processes(name), rounds)
  start = harness.model().initial_weights[0]
  assert _loss(history[-1], rounds[0]) < _loss(start, rounds[0])


@pytest.mark.parametrize('name', NAMES)
def test_same_input_same_bits(name, processes):
  rounds = seven_clients.cohorts()
  harness.assert_same(harness.run(processes(name), rounds), harness.run(processes(name), rounds), 0)


@pytest.mark.parametrize('name', NAMES)
def test_independent_of_the_order_of_clients(name, processes):
  rounds = seven_clients.cohorts()
  order = np.random.default_rng(0).permutation(seven_clients.COUNT)
  shuffled = [[cohort[i] for i in order] for cohort in rounds]
  sums_in_floating_point = processes(name).parts.aggregator.kind == combiner.SUMS
  harness.assert_same(
    harness.run(processes(name), rounds),
    harness.run(processes(name), shuffled),
    1e-6 if sums_in_floating_point else 0,
  )


@pytest.mark.parametrize('name', NAMES)
def test_runtimes_agree(name, processes):
  rounds = seven_clients.cohorts()
  one_chunk = harness.run(processes(name), rounds)
  with runtime.use_context('native'):
    native = harness.run(processes(name), rounds)
  harness.assert_same(one_chunk, native, harness.ANOTHER_BUILD)
  with contexts.fused(2):
    harness.assert_same(one_chunk, harness.run(processes(name), rounds), 1e-6)


# What one client sends is not the aggregate where the server has an update of its own.
ALONE = [n for n, entry in aggregation.AGGREGATORS.items() if not entry.needs_server_examples]


@pytest.mark.parametrize('name', ALONE)
def test_a_cohort_of_one(name):
  # A wide bound: what one client sends is then the aggregate, whatever the rule.
  settings = {'norm_bounding': {'bound': 10.0}}.get(name, {})
  rounds = [cohort[1:2] for cohort in seven_clients.cohorts()]
  process = seven_clients.build(aggregation.build(name, settings))
  alone = harness.run(harness.plain(), rounds)
  harness.assert_same(harness.run(process, rounds), alone, 1e-6)


@pytest.mark.parametrize('name', NAMES)
def test_updates_of_zero_change_nothing(name):
  process = seven_clients.build(
    aggregation.build(name, SETTINGS.get(name, {})),
    client_optimizer=tff.learning.optimizers.build_sgdm(0.0),
  )
  start = harness.model().initial_weights[0]
  history = harness.run(process, seven_clients.cohorts())
  harness.assert_same(history, [start] * harness.ROUNDS, 0)


@pytest.mark.parametrize('name', NAMES)
def test_a_client_that_is_not_finite_is_left_out(name, processes):
  rounds = seven_clients.cohorts()
  broken = [[*c[:2], seven_clients.broken(c[2]), *c[3:]] for c in rounds]
  without = [[*c[:2], *c[3:]] for c in rounds]
  harness.assert_same(
    harness.run(processes(name), broken), harness.run(processes(name), without), 1e-6
  )


@pytest.mark.parametrize('name', NAMES)
def test_a_round_without_clients_spoils_nothing(name, processes):
  rounds = seven_clients.cohorts(rounds=2)
  process = processes(name)
  nobody = [seven_clients.broken(rounds[0][0])]
  with_gaps = harness.run(process, [rounds[0], nobody, [], rounds[1]])
  harness.assert_same([with_gaps[0], with_gaps[0]], with_gaps[1:3], 0)
  harness.assert_same([with_gaps[3]], [harness.run(process, rounds)[1]], 0)


@pytest.mark.parametrize('name', NAMES)
def test_weights_count_for_the_rules_that_say_so(name, processes):
  weighted = processes(name)
  uniform = seven_clients.build(
    aggregation.build(name, SETTINGS.get(name, {})), client_weighting='uniform'
  )
  rounds = seven_clients.cohorts()
  a, b = harness.run(weighted, rounds)[-1], harness.run(uniform, rounds)[-1]
  same = all(np.array_equal(u, v) for u, v in zip(a, b))
  assert same == (not processes(name).parts.aggregator.uses_weights)


@pytest.mark.parametrize('name', NAMES)
def test_a_site_lets_the_clients_work_run(name, processes):
  harness.assert_allowed_at_sites(processes(name))

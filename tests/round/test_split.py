"""A round in two halves is the round; halves of different rounds do what the papers say."""

import collections
import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import algorithms, registry, runtime
from fl_research.aggregation import compression, median
from fl_research.aggregation import sums as sums_lib
from fl_research.algorithms.optimization import fed_avg
from fl_research.population import staleness
from fl_research.registry import UsageError
from fl_research.round import split
from fl_research.round.parts import Parts
from fl_research.training import client_states
from tests.algorithms import harness
from tests.oracles import asynchronous
from tests.oracles import softmax_regression as problem

SPLITTABLE = [
  name
  for name, entry in algorithms.ALGORITHMS.items()
  if all(requirement.accepts('aggregation_trigger', 'buffer') for requirement in entry.requires)
]
ONES = [1.0] * len(problem.SIZES)


@pytest.fixture(scope='module')
def contexts():
  made = {}
  with runtime.use_context('fused', chunks=2) as made['fused']:
    pass
  with runtime.use_context('native') as made['native']:
    pass
  return made


@pytest.fixture(autouse=True)
def _context(contexts):
  with tff.framework.get_context_stack().install(contexts['fused']):
    yield


def build(method, mixes=False, server_rate=1.0, **parts):
  sgdm = tff.learning.optimizers.build_sgdm
  parts = {'model': harness.model(), 'population_size': len(problem.SIZES), **parts}
  return split.build_process(
    Parts(
      method=method,
      client_optimizer=sgdm(harness.RATE),
      server_optimizer=sgdm(server_rate),
      **parts,
    ),
    mixes,
  )


@functools.cache
def plain(mixes=False, server_rate=1.0):
  return build(fed_avg.build(), mixes, server_rate)


def halves(process, state, cohort, kept=None, factors=ONES):
  """A round by its halves."""
  sent = process.run_work(state, runtime.stack_clients(cohort), kept)
  results = runtime.stack_clients([each.result for each in sent])
  return process.run_apply(state, results, factors, [each.state for each in sent], kept)


def assert_same_bits(first, second):
  for a, b in zip(tf.nest.flatten(first), tf.nest.flatten(second), strict=True):
    np.testing.assert_array_equal(a, b)


def assert_is_the_round(process, rounds):
  """State, measurements, and what clients keep, after every round."""
  kept, own = client_states.build(process), client_states.build(process)
  state = process.initialize()
  for cohort in rounds:
    whole = process.run_round(state, runtime.stack_clients(cohort), kept)
    cut = halves(process, state, cohort, own)
    assert_same_bits((whole.state, whole.measured), (cut.state, cut.measured))
    if kept is not None:
      everybody = range(len(problem.SIZES))
      assert_same_bits(kept.get(everybody), own.get(everybody))
    state = whole.state


# The others have the clients of one of these, and another step of the server's only.
@pytest.mark.parametrize(
  'name',
  ['fedadam', 'fednova', 'fedprox', 'fedsgd', 'mimelite', 'fedrep', 'ditto', 'qfedavg', 'ifca'],
)
def test_a_round_is_its_halves_bit_for_bit(name):
  entry = algorithms.ALGORITHMS[name]
  layered = 'private_layers' in entry.hyperparameters
  model = harness.two_layers() if layered else harness.model()
  process = build(algorithms.build(name, {}), model=model, server_rate=0.5)
  assert_is_the_round(process, harness.cohorts(epochs=2))


@pytest.mark.parametrize(
  'parts',
  [
    {'compressor': 'top_k:0.25,quantize:8'},
    {'compressor': 'random_mask:0.5,quantize:4'},
    {'aggregator': median.build()},
    {'sums': sums_lib.SecureSums(10.0, 3)},
  ],
  ids=lambda parts: '-'.join(parts),
)
def test_so_it_is_with_compressors_rules_and_secure_sums(parts):
  given = dict(parts)
  if 'compressor' in given:
    from fl_research.aggregation.compression import chain

    given['compressor'] = compression.build(chain.parse(given['compressor'], {}))
  process = build(fed_avg.build(), **given)
  assert_is_the_round(process, harness.cohorts())


def test_the_native_runtime_runs_both_halves(contexts):
  with tff.framework.get_context_stack().install(contexts['native']):
    assert_is_the_round(plain(), harness.cohorts(rounds=2))


def test_a_client_that_is_not_finite_is_left_out_and_keeps_what_it_had():
  process = build(algorithms.build('ditto', {}))
  [cohort] = harness.cohorts(rounds=1)
  x = np.full_like(cohort[1]['examples']['x'], np.nan)
  y = cohort[1]['examples']['y']
  cohort[1] = collections.OrderedDict(cohort[1], examples=collections.OrderedDict(x=x, y=y))
  kept = client_states.build(process)
  result = halves(process, process.initialize(), cohort, kept)
  assert float(result.measured['participants']) == 2.0
  assert_same_bits(kept.get([1]), [process.initial_client_state])
  assert any(np.any(leaf != 0) for leaf in tf.nest.flatten(kept.get([0])))


def test_nobody_leaves_the_model_as_it_is():
  process = plain()
  before = process.initialize()
  after = process.run_apply(before, [], []).state
  assert_same_bits(before['server']['weights'], after['server']['weights'])
  assert int(after['server']['round_num']) == 1


def test_bytes_are_known_where_nothing_is_compressed():
  [cohort] = harness.cohorts(rounds=1)
  secure = build(fed_avg.build(), sums=sums_lib.SecureSums(10.0, 3))
  for process in (plain(), secure):
    [first, *_] = process.run_work(process.initialize(), cohort)
    assert first.result['facts']['costs'][1] == process.sent_bytes_per_client
  assert secure.sent_bytes_per_client > plain().sent_bytes_per_client
  packed = build(fed_avg.build(), compressor=compression.build({'quantize': {'bits': 4}}))
  assert packed.sent_bytes_per_client is None


# Which client's result of which version each step uses: of other clients at other times.
BUFFERS = [[(0, 0), (1, 0)], [(1, 1), (2, 0)], [(0, 1), (2, 2)], [(1, 0), (2, 3)]]
SINGLES = [[(0, 0)], [(2, 0)], [(1, 0)], [(0, 1)], [(2, 2)], [(1, 5)]]


def used(buffers):
  return [
    [asynchronous.Used(client, start, step) for client, start in buffer]
    for step, buffer in enumerate(buffers)
  ]


def data_of(client, start):
  return harness.cohorts(rounds=6)[start][client]


def stale(process, rounds, name, given):
  """Global weights after each step with results of these versions."""
  states = [process.initialize()]
  for buffer in rounds:
    sent = [
      process.run_work(states[each.start], [data_of(each.client, each.start)])[0].result
      for each in buffer
    ]
    ages = np.array([each.staleness for each in buffer])
    factors = staleness.factors(name, given, ages)
    states.append(process.run_apply(states[-1], sent, factors).state)
  return [process.model_weights(state) for state in states[1:]]


@pytest.mark.parametrize(
  'name, given', [('polynomial', {}), ('constant', {}), ('hinge', {'slope': 2.0, 'grace': 1})]
)
def test_stale_updates_are_those_of_fed_buff(name, given):
  process, rounds = plain(server_rate=0.7), used(BUFFERS)
  assert max(each.staleness for buffer in rounds for each in buffer) == 3
  factor = lambda age: staleness.factors(name, given, np.array([age])).item()
  weights = process.parts.model.initial_weights[0]
  expected = asynchronous.fed_buff(weights, rounds, data_of, harness.RATE, 0.7, factor)
  harness.assert_same(stale(process, rounds, name, given), expected)


@pytest.mark.parametrize(
  'name, given', [('polynomial', {'exponent': 0.9}), ('hinge', {'slope': 2.0, 'grace': 1})]
)
def test_mixed_models_are_those_of_fed_async(name, given):
  process, rounds = plain(mixes=True, server_rate=0.6), used(SINGLES)
  assert [buffer[0].staleness for buffer in rounds] == [0, 1, 2, 2, 2, 0]
  factor = lambda age: staleness.factors(name, given, np.array([age])).item()
  weights = process.parts.model.initial_weights[0]
  expected = asynchronous.fed_async(weights, rounds, data_of, harness.RATE, 0.6, factor)
  found = stale(process, rounds, name, given)
  harness.assert_same(found, expected)
  added = stale(plain(server_rate=0.6), rounds, name, given)
  assert np.abs(added[-1][0] - found[-1][0]).max() > 1e-3, 'mixing and adding are the same here'


def test_mixing_a_whole_fresh_model_takes_the_clients_own():
  process = plain(mixes=True)
  [cohort] = harness.cohorts(rounds=1)
  state = process.initialize()
  [sent] = process.run_work(state, [cohort[1]])
  after = process.model_weights(process.run_apply(state, [sent.result], [1.0]).state)
  own = asynchronous.fed_avg.local_sgd(process.model_weights(state), cohort[1], harness.RATE)
  harness.assert_same([after], [own], 1e-6)
  # Fresh results count as without mixing, to the bit.
  assert_same_bits(halves(process, state, cohort).state, halves(plain(), state, cohort).state)


def test_methods_of_more_than_one_trip_are_refused():
  with pytest.raises(UsageError, match='more than one trip'):
    build(algorithms.build('mime', {}))


def test_only_whole_models_are_mixed():
  model = harness.two_layers()
  with pytest.raises(UsageError, match='--stale_update=model'):
    build(algorithms.build('fedper', {}), mixes=True, model=model)


def test_who_presumes_one_model_says_so():
  refused = {name for name in algorithms.ALGORITHMS if name not in SPLITTABLE}
  with_variates = {'scaffold', 'fedgamma', 'scaffnew', 'feddyn', 'feddc', 'fedpd'}
  assert refused == {
    'local',
    'cfl',
    'l2gd',
    'mime',
    'fedlin',
    'afl',
    'fedamp',
    'fedfomo',
    'fedpac',
    'fedgh',
    'feddistill',
    *with_variates,
  }
  assert registry.TRAINS_FROM_ONE_MODEL in algorithms.ALGORITHMS['scaffold'].requires

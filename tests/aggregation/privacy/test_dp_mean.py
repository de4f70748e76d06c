"""The private mean against its oracle, its reductions, and the statistics of its noise."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import algorithms, random_streams, registry, runtime
from fl_research.aggregation import summed
from fl_research.aggregation.privacy import dp_mean
from fl_research.algorithms.optimization import fed_avg
from fl_research.algorithms.personal import fed_per, local
from fl_research.round import method
from tests import contexts
from tests.algorithms import harness
from tests.oracles import dp_mean as oracle
from tests.oracles import fed_avg as fed_avg_oracle

SEED = random_streams.stateless_seed(7, 'privacy noise')
CLIP, Z, EXPECTED = 0.05, 0.7, 4.0


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def fold_in(seed, number):
  return tf.random.experimental.stateless_fold_in(seed, number, alg='philox')


def standard_noise(round_num, shapes, seed=SEED):
  """The stateless normals of a round, one for each tensor, and one for the count."""
  of_round = fold_in(tf.constant(seed), round_num)
  draw = lambda i, shape: tf.random.stateless_normal(shape, fold_in(of_round, i), alg='philox')
  normals = [draw(i, shape).numpy() for i, shape in enumerate([*shapes, ()])]
  return normals[:-1], normals[-1]


def delta(weights, data):
  trained = fed_avg_oracle.local_sgd(weights, data, harness.RATE)
  return [new - old for new, old in zip(trained, weights)]


def oracle_history(rounds, clip_norm=CLIP, multiplier=Z, expected=EXPECTED):
  start = harness.model().initial_weights[0]
  noise = [standard_noise(r, [w.shape for w in start])[0] for r in range(len(rounds))]
  return oracle.dp_fed_avg(start, rounds, delta, clip_norm, multiplier, expected, noise)


def aggregate(factory, updates, rounds=1, state=None):
  """(state, result, measurements) of the last of some rounds over vectors."""
  process = factory.factory.create(tff.to_type([tff.TensorType(np.float32, (len(updates[0]),))]))
  state = process.initialize() if state is None else state
  for _ in range(rounds):
    output = process.next(state, [[np.float32(u)] for u in updates])
    state = output.state
  return state, np.asarray(output.result[0]), output.measurements


@pytest.mark.parametrize('expected', [3.0, 4.0])
def test_three_rounds_equal_oracle(expected):
  rounds = harness.cohorts()
  factory = dp_mean.PrivateMean(CLIP, Z, expected, SEED)
  history = harness.run(harness.build(fed_avg.build(), aggregator=factory), rounds)
  harness.assert_same(history, oracle_history(rounds, expected=expected))


def test_some_clients_of_the_oracles_problem_are_clipped_and_others_are_not():
  start = harness.model().initial_weights[0]
  below = [oracle.clip(delta(start, data), 0.3)[1] for data in harness.cohorts()[0]]
  assert True in below and False in below
  factory = dp_mean.PrivateMean(0.3, Z, 3.0, SEED)
  rounds = harness.cohorts()
  history = harness.run(harness.build(fed_avg.build(), aggregator=factory), rounds)
  harness.assert_same(history, oracle_history(rounds, clip_norm=0.3, expected=3.0))


def test_without_noise_and_bound_it_is_the_mean():
  rounds = harness.cohorts()
  factory = dp_mean.PrivateMean(np.inf, 0.0, 3.0, SEED)
  private = harness.run(harness.build(fed_avg.build(), aggregator=factory), rounds)
  plain = harness.run(harness.plain('uniform'), rounds)
  harness.assert_same(private, plain, 1e-6)


def test_without_noise_it_is_tffs_clipped_mean():
  updates = np.random.default_rng(0).normal(size=(5, 3))
  ours = aggregate(dp_mean.PrivateMean(0.8, 0.0, 5.0, SEED), updates)[1]
  theirs = tff.aggregators.DifferentiallyPrivateFactory.gaussian_fixed(0.0, 5.0, 0.8)
  np.testing.assert_allclose(ours, aggregate(summed.Summed(theirs), updates)[1], rtol=1e-5)


def test_fused_equals_native():
  rounds = harness.cohorts()
  adaptive = dp_mean.AdaptiveClipping(0.5, 0.2, 2.0)
  factory = dp_mean.PrivateMean(CLIP, Z, EXPECTED, SEED, adaptive)
  fused = harness.run(harness.build(fed_avg.build(), aggregator=factory), rounds)
  with runtime.use_context('native'):
    native = harness.run(harness.build(fed_avg.build(), aggregator=factory), rounds)
  harness.assert_same(fused, native, harness.ANOTHER_BUILD)


def test_resuming_gives_the_same_noise():
  rounds = harness.cohorts()
  process = harness.build(fed_avg.build(), aggregator=dp_mean.PrivateMean(CLIP, Z, EXPECTED, SEED))
  through = harness.run(process, rounds)
  state, _ = process.next(process.initialize(), rounds[0])
  saved = [np.asarray(leaf) for leaf in tf.nest.flatten(state)]
  state = tf.nest.pack_sequence_as(process.initialize(), saved)
  for cohort in rounds[1:]:
    state, _ = process.next(state, cohort)
  harness.assert_same([process.model_weights(state)], through[-1:], 0)


def test_noise_differs_between_rounds_seeds_and_tensors():
  zeros = [np.zeros(6)]
  noise_of = lambda seed, rounds: aggregate(
    dp_mean.PrivateMean(1.0, 1.0, 1.0, random_streams.stateless_seed(seed, 'x')), zeros, rounds
  )[1]
  first, same = noise_of(0, 1), noise_of(0, 1)
  np.testing.assert_array_equal(first, same)
  for other in (noise_of(0, 2), noise_of(1, 1)):
    assert np.all(np.abs(first - other) > 1e-6)
  two = tff.to_type([tff.TensorType(np.float32, (6,))] * 2)
  process = dp_mean.NoisyMean(1.0, 1.0, 1.0, SEED).create(two)
  a, b = process.next(process.initialize(), [[np.zeros(6, np.float32)] * 2]).result
  assert np.all(np.abs(np.asarray(a) - np.asarray(b)) > 1e-6)


@pytest.mark.parametrize(('clip_norm', 'multiplier', 'expected'), [(0.5, 1.0, 4.0), (2.0, 0.3, 10)])
def test_noise_has_the_stated_standard_deviation(clip_norm, multiplier, expected):
  draws, dimension = 4, 5000
  zeros = [np.zeros(dimension)] * 3
  noise = np.concatenate(
    [
      aggregate(
        dp_mean.PrivateMean(
          clip_norm, multiplier, expected, random_streams.stateless_seed(seed, 'noise')
        ),
        zeros,
      )[1]
      for seed in range(draws)
    ]
  )
  stated = multiplier * clip_norm / expected
  # Five standard errors of a mean and of a standard deviation of n normals.
  n = draws * dimension
  assert abs(noise.mean()) < 5 * stated / np.sqrt(n)
  assert abs(noise.std() / stated - 1) < 5 / np.sqrt(2 * n)


def test_measurements_are_those_of_the_round():
  updates = np.diag([0.1, 3.0, 4.0, 0.0])
  _, _, measured = aggregate(dp_mean.PrivateMean(0.5, 2.0, 8.0, SEED), updates)
  assert measured['clip_norm'] == np.float32(0.5)
  assert measured['clipped_fraction'] == np.float32(0.5)
  assert measured['noise_stddev'] == pytest.approx(2.0 * 0.5 / 8.0)


def test_measurements_are_named_for_the_csv():
  process = harness.build(fed_avg.build(), aggregator=dp_mean.PrivateMean(CLIP, Z, EXPECTED, SEED))
  assert process.aggregation_columns == ('clip_norm', 'clipped_fraction', 'noise_stddev')
  _, measured = process.next(process.initialize(), harness.cohorts()[0])
  values = process.aggregation_metrics(measured)
  assert values['noise_stddev'] == pytest.approx(Z * CLIP / EXPECTED)
  assert values['clipped_fraction'] == 1.0
  assert harness.build(fed_avg.build()).aggregation_columns == ()


def test_nested_measurements_are_named_by_their_paths():
  process = harness.build(fed_avg.build(), aggregator=tff.learning.robust_aggregator())
  assert 'zeroing/clipped_count' in process.aggregation_columns
  _, measured = process.next(process.initialize(), harness.cohorts()[0])
  assert set(process.aggregation_metrics(measured)) == set(process.aggregation_columns)


def test_adaptive_clipping_equals_oracle():
  updates = np.random.default_rng(1).normal(size=(5, 4))
  adaptive = dp_mean.AdaptiveClipping(target_quantile=0.3, learning_rate=0.4, count_noise=1.5)
  factory = dp_mean.PrivateMean(1.5, 1.2, 6.0, SEED, adaptive)
  process = factory.factory.create(tff.to_type([tff.TensorType(np.float32, (4,))]))
  state, norm = process.initialize(), 1.5
  multiplier = (1.2**-2 - 3.0**-2) ** -0.5
  for round_num in range(3):
    output = process.next(state, [[np.float32(u)] for u in updates])
    state = output.state
    noise, count_noise = standard_noise(round_num, [(4,)])
    mean, below = oracle.mean([[u] for u in updates], norm, multiplier, 6.0, noise)
    np.testing.assert_allclose(output.result[0], mean[0], rtol=1e-5, atol=1e-6)
    assert output.measurements['clip_norm'] == pytest.approx(norm, rel=1e-5)
    norm = oracle.next_norm(norm, below, 5, 6.0, 0.3, 0.4, 1.5, count_noise)
  assert state['clip_norm'] == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize('quantile', [0.1, 0.5, 0.9])
def test_adaptive_clipping_finds_the_quantile(quantile):
  # Log-normal norms, the noise on the count as in the paper: m / 20.
  norms = np.exp(np.random.default_rng(2).normal(size=200))
  updates = [[norm, 0.0] for norm in norms]
  adaptive = dp_mean.AdaptiveClipping(quantile, learning_rate=0.2, count_noise=10.0)
  factory = dp_mean.PrivateMean(0.1, 1.0, 200.0, SEED, adaptive)
  process = factory.factory.create(tff.to_type([tff.TensorType(np.float32, (2,))]))
  state, found = process.initialize(), []
  for _ in range(150):
    output = process.next(state, [[np.float32(u)] for u in updates])
    state = output.state
    found.append(float(output.measurements['clip_norm']))
  share_below = np.mean(norms <= np.median(found[100:]))
  assert abs(share_below - quantile) < 0.05


@pytest.mark.parametrize(('z', 'count_noise'), [(1.0, 0.6), (0.5, 5.0), (3.0, 2.0)])
def test_noise_of_update_and_count_add_up_to_the_whole(z, count_noise):
  update = dp_mean.update_noise_multiplier(z, count_noise)
  assert update > z
  assert update**-2 + (2 * count_noise) ** -2 == pytest.approx(z**-2)


def test_a_count_that_would_use_the_whole_budget_is_refused():
  assert dp_mean.update_noise_multiplier(0.0, 0.0) == 0.0
  with pytest.raises(ValueError, match='not below twice'):
    dp_mean.update_noise_multiplier(1.0, 0.5)


def test_an_empty_cohort_still_gives_noise():
  process = harness.build(fed_avg.build(), aggregator=dp_mean.PrivateMean(CLIP, Z, EXPECTED, SEED))
  start = harness.model().initial_weights[0]
  state, measured = process.next(process.initialize(), [])
  noise, _ = standard_noise(0, [w.shape for w in start])
  expected = [w + Z * CLIP / EXPECTED * n for w, n in zip(start, noise)]
  harness.assert_same([process.model_weights(state)], [expected])
  assert measured['participants'] == 0


def test_a_client_that_is_not_finite_counts_as_zeros():
  cohort = harness.cohorts()[0]
  broken = [dict(data) for data in cohort]
  broken[1]['examples'] = dict(broken[1]['examples'])
  broken[1]['examples']['x'] = np.full_like(cohort[1]['examples']['x'], np.nan)
  factory = dp_mean.PrivateMean(CLIP, Z, EXPECTED, SEED)
  process = harness.build(fed_avg.build(), aggregator=factory)
  state, _ = process.next(process.initialize(), broken)
  without = oracle_history([[cohort[0], cohort[2]]])
  harness.assert_same([process.model_weights(state)], without)


def test_an_update_whose_norm_overflows_counts_as_zeros():
  _, mean, _ = aggregate(dp_mean.PrivateMean(1.0, 0.0, 2.0, SEED), [[1e30, 1e30], [0.5, 0.0]])
  np.testing.assert_allclose(mean, [0.25, 0.0])


class _SeesParticipants(method.Method):
  """Moves by the number of clients that its server's step is told."""

  def work(self, client, message):
    _, trained = client.gradient(message)
    return method.Reply(tuple(tf.zeros_like(w) for w in message), client.state, trained)

  def finish(self, server, combined):
    weights = tuple(w * 0.0 + combined.participants for w in server.weights)
    return server._replace(weights=weights)


class _SendsMore(_SeesParticipants):
  """Sends a tensor besides its update."""

  def work(self, client, message):
    return super().work(client, message)._replace(auxiliary=(tf.constant(1.0),))


class _WeighsItself(_SeesParticipants):
  """Says what its update counts."""

  def work(self, client, message):
    return super().work(client, message)._replace(weight=tf.constant(2.0))


def test_the_server_is_not_told_how_many_took_part():
  factory = dp_mean.PrivateMean(CLIP, Z, EXPECTED, SEED)
  process = harness.build(_SeesParticipants(), aggregator=factory)
  for cohort in (harness.cohorts()[0], harness.cohorts()[0][:1]):
    state, _ = process.next(process.initialize(), cohort)
    assert np.all(process.model_weights(state)[0] == EXPECTED)


@pytest.mark.parametrize(
  ('method', 'reason'),
  [
    (_SendsMore(), 'more than their update'),
    (algorithms.build('mime', {}), 'more than their update'),
    (_WeighsItself(), 'say themselves what'),
    (algorithms.build('cfl', {}), 'in a way of its own'),
    (local.build(), 'shares none'),
    (fed_per.build(private_layers='dense_1'), 'shares none'),
  ],
)
def test_methods_that_noise_would_not_cover_are_refused(method, reason):
  with pytest.raises(registry.UsageError, match=reason):
    harness.build(method, aggregator=dp_mean.PrivateMean(CLIP, Z, EXPECTED, SEED))


@pytest.mark.parametrize(
  'arguments',
  [(0.0, 1.0, 4.0), (np.nan, 1.0, 4.0), (np.inf, 1.0, 4.0), (1.0, -1.0, 4.0), (1.0, 1.0, 0.0)],
)
def test_arguments_outside_their_domain_are_refused(arguments):
  with pytest.raises(ValueError, match='must be'):
    dp_mean.PrivateMean(*arguments, SEED)


def test_integers_are_refused():
  factory = dp_mean.PrivateMean(1.0, 0.0, 1.0, SEED)
  with pytest.raises(TypeError, match='only floats'):
    factory.create(tff.to_type([tff.TensorType(np.int32, (2,))]))

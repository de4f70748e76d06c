"""Noise at the clients against its oracle, its reductions, and what it hides."""

import math

import numpy as np
import pytest
import tensorflow as tf

from fl_research import algorithms, random_streams, registry, runtime
from fl_research import settings as settings_lib
from fl_research.aggregation import compression, median
from fl_research.aggregation import sums as sums_lib
from fl_research.aggregation.privacy.local_noise import LocalNoise
from fl_research.algorithms.optimization import fed_avg
from fl_research.population import cohorts
from fl_research.population.attacks import attack
from fl_research.training import client_states, guarantee
from tests import contexts
from tests.algorithms import harness
from tests.oracles import dp_mean as clipping
from tests.oracles import fed_avg as fed_avg_oracle
from tests.oracles import local_noise as oracle

CLIP, Z = 0.3, 0.7
_PURPOSE = 0x6C64


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def normals(data, shapes):
  """A client's stateless normals of the round, one for each tensor."""
  fold_in = lambda seed, number: tf.random.experimental.stateless_fold_in(seed, number, 'philox')
  own = fold_in(tf.constant(data['seed']), _PURPOSE)
  draw = lambda i, shape: tf.random.stateless_normal(shape, fold_in(own, i), alg='philox')
  return [draw(i, shape).numpy() for i, shape in enumerate(shapes)]


def delta(weights, data):
  trained = fed_avg_oracle.local_sgd(weights, data, harness.RATE)
  return [new - old for new, old in zip(trained, weights)]


def sent(weights, data, clip_norm=CLIP, multiplier=Z):
  """What a client sends, as the paper has it."""
  clipped, _ = clipping.clip(delta(weights, data), clip_norm)
  noise = normals(data, [w.shape for w in weights])
  return [u + multiplier * clip_norm * n for u, n in zip(clipped, noise)]


def build(noise=None, **parts):
  noise = noise or LocalNoise(CLIP, Z)
  return harness.build(fed_avg.build(), client_weighting='uniform', local_noise=noise, **parts)


def test_three_rounds_equal_oracle():
  rounds, start = harness.cohorts(), harness.model().initial_weights[0]
  below = [clipping.clip(delta(start, data), CLIP)[1] for data in rounds[0]]
  assert True in below and False in below
  expected = oracle.ldp_fed_avg(start, rounds, delta, CLIP, Z, normals)
  harness.assert_same(harness.run(build(), rounds), expected)


def test_without_noise_and_bound_it_is_the_mean():
  rounds = harness.cohorts()
  private = harness.run(build(LocalNoise(np.inf, 0.0)), rounds)
  harness.assert_same(private, harness.run(harness.plain('uniform'), rounds), 1e-6)


def test_without_noise_it_is_clipping_alone():
  rounds, start = harness.cohorts(), harness.model().initial_weights[0]
  expected = oracle.ldp_fed_avg(start, rounds, delta, CLIP, 0.0, normals)
  harness.assert_same(harness.run(build(LocalNoise(CLIP, 0.0)), rounds), expected)


def test_fused_equals_native():
  rounds = harness.cohorts()
  fused = harness.run(build(), rounds)
  with runtime.use_context('native'):
    native = harness.run(build(), rounds)
  harness.assert_same(fused, native, harness.ANOTHER_BUILD)


def test_a_robust_rule_sees_noised_updates():
  rounds, weights = harness.cohorts(rounds=1), harness.model().initial_weights[0]
  history = harness.run(build(aggregator=median.build()), rounds)
  updates = zip(*(sent(weights, data) for data in rounds[0]))
  expected = [w + np.median(own, axis=0) for w, own in zip(weights, updates)]
  harness.assert_same(history, [expected])


def test_a_secure_sum_is_of_noised_updates():
  rounds = harness.cohorts()
  secure = build(sums=sums_lib.SecureSums(10.0, 3))
  harness.assert_same(harness.run(secure, rounds), harness.run(build(), rounds))


def test_what_is_compressed_is_noised_and_so_is_what_is_fed_back():
  rounds, weights = harness.cohorts(rounds=1), harness.model().initial_weights[0]
  compressor = compression.build({'top_k': {'fraction': 0.3}})
  process = build(compressor=compressor)
  kept = client_states.build(process)
  new = process.model_weights(process.run_round(process.initialize(), rounds[0], kept).state)
  memories = [state['compressor'][0] for state in kept.get([0, 1, 2])]
  noised = zip(*(sent(weights, data) for data in rounds[0]))
  for before, after, updates, left in zip(weights, new, noised, zip(*memories)):
    mean_left = np.mean([np.reshape(part, before.shape) for part in left], axis=0)
    np.testing.assert_allclose(after - before + mean_left, np.mean(updates, axis=0), atol=1e-5)


def test_nobody_is_told_that_an_update_was_not_finite():
  rounds = harness.cohorts(rounds=1)
  rounds[0][1]['examples']['x'][:] = np.nan
  process = harness.build(
    algorithms.build('ditto', {}),
    client_weighting='uniform',
    local_noise=LocalNoise(CLIP, Z),
  )
  kept = client_states.build(process)
  result = process.run_round(process.initialize(), rounds[0], kept)
  finite = process.report_columns.index('finite')
  assert float(result.measured['participants']) == 3
  assert np.asarray(result.measured['report']['values'])[:, finite].tolist() == [1.0] * 3
  weights, new = harness.model().initial_weights[0], process.model_weights(result.state)
  shapes = [w.shape for w in weights]
  # Its share of the mean is noise around zero, and what it keeps is as it was.
  others = [sent(weights, rounds[0][k]) for k in (0, 2)]
  own = [Z * CLIP * n for n in normals(rounds[0][1], shapes)]
  mean = [np.mean(parts, axis=0) for parts in zip(*others, own)]
  harness.assert_same([new], [[w + m for w, m in zip(weights, mean)]])
  before = tf.nest.flatten(process.initial_client_state)
  states = [tf.nest.flatten(state) for state in kept.get([0, 1])]
  assert all(np.array_equal(a, b) for a, b in zip(before, states[1]))
  assert not all(np.array_equal(a, b) for a, b in zip(before, states[0]))


class _Ones(attack.Attack):
  def poison_update(self, update, weight, seed):
    del weight, seed
    return tuple(tf.ones_like(tensor) for tensor in update)


def test_attackers_neither_clip_nor_add_noise():
  rounds, weights = harness.cohorts(rounds=1), harness.model().initial_weights[0]
  history = harness.run(build(attack=_Ones(), attackers=(1,)), rounds)
  honest = [sent(weights, rounds[0][k]) for k in (0, 2)]
  mean = [np.mean([a, b, np.ones_like(a)], axis=0) for a, b in zip(*honest)]
  harness.assert_same(history, [[w + m for w, m in zip(weights, mean)]])


def test_methods_that_send_more_are_refused():
  with pytest.raises(registry.UsageError, match='send more than their update'):
    harness.build(algorithms.build('scaffold', {}), local_noise=LocalNoise(CLIP, Z))


def test_noise_differs_between_clients_rounds_and_tensors_and_has_its_size():
  noise, zeros = LocalNoise(2.0, 0.5), (tf.zeros([4000]), tf.zeros([4000]))
  seed = lambda *keys: tf.constant(random_streams.stateless_seed(1, 'client', *keys))
  draws = [
    own.numpy() for keys in ((1, 0), (1, 1), (2, 0)) for own in noise.apply(zeros, seed(*keys))
  ]
  np.testing.assert_array_equal(draws[0], noise.apply(zeros, seed(1, 0))[0])
  assert len({own.tobytes() for own in draws}) == 6
  assert np.abs(np.corrcoef(draws) - np.eye(6)).max() < 0.08
  assert np.std(draws) == pytest.approx(1.0, rel=0.03)
  assert noise.apply((), seed(1, 0)) == ()


@pytest.mark.parametrize(('clip_norm', 'multiplier'), [(0.0, 1.0), (np.inf, 1.0), (1.0, -1.0)])
def test_domain(clip_norm, multiplier):
  with pytest.raises(ValueError, match='must be'):
    LocalNoise(clip_norm, multiplier)


def local_guarantee(sampler, total_rounds, **given):
  settings = settings_lib.Settings(
    dp_place='local', dp_clip_norm=1.0, total_rounds=total_rounds, **given
  )
  clients = len(sampler.sizes)
  return guarantee.build(settings, clients, sampler.clients_per_round, sampler)


def test_epsilon_is_that_of_whoever_was_drawn_most_often():
  sampler = cohorts.CohortSampler('uniform', 3, np.ones(12, np.int64), seed=5)
  drawn = np.zeros(12, int)
  found = local_guarantee(sampler, 20, dp_noise_multiplier=8.0, dp_delta=1e-5, dp_accountant='pld')
  cumulative = lambda x: 0.5 * math.erfc(-x / math.sqrt(2))
  for round_num in range(1, 21):
    drawn[sampler.cohort(round_num)] += 1
    if round_num not in (1, 7, 20):
      continue
    # Balle, Wang 2018, theorem 8, of updates that are 2 C apart.
    ratio, epsilon = 2 * math.sqrt(drawn.max()) / 8.0, found.epsilon(round_num)
    assert math.isclose(
      cumulative(ratio / 2 - epsilon / ratio)
      - math.exp(epsilon) * cumulative(-ratio / 2 - epsilon / ratio),
      1e-5,
      rel_tol=0.02,
    )
  assert 20 * 3 / 12 < drawn.max() < 20
  facts = found.facts()
  assert facts['rounds_of_a_client'] == drawn.max() and facts['place'] == 'local'
  assert facts['neighbors'] == 'replace_one' and not facts['amplified_by_sampling']


def test_renyi_composition_is_bounded_by_concentrated_privacy():
  everybody = cohorts.CohortSampler('uniform', 4, np.ones(4, np.int64), seed=5)
  found = local_guarantee(everybody, 30, dp_noise_multiplier=10.0, dp_delta=1e-5)
  rho = 30 * (2 / 10.0) ** 2 / 2
  # Bun, Steinke 2016, proposition 1.3.
  closed_form = rho + 2 * math.sqrt(rho * math.log(1e5))
  assert 0.8 * closed_form < found.epsilon(30) <= closed_form


def test_solved_noise_meets_the_target():
  sampler = cohorts.CohortSampler('uniform', 3, np.ones(12, np.int64), seed=5)
  found = local_guarantee(sampler, 20, target_epsilon=4.0, dp_delta=1e-5)
  assert 3.99 < found.epsilon(20) <= 4.0
  few = cohorts.CohortSampler('poisson', 1, np.ones(500, np.int64), seed=2)
  assert local_guarantee(few, 1, target_epsilon=4.0, dp_delta=1e-5).noise_multiplier > 0

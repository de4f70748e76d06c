"""The private mean over the integers: its oracle, its sensitivity, and where its noise is from."""

from fractions import Fraction
import math

import numpy as np
import pytest
import tensorflow_federated as tff

from fl_research import runtime
from fl_research.aggregation import sums
from fl_research.aggregation.privacy import discrete_gaussian, discrete_mean, dp_mean
from fl_research.algorithms.optimization import fed_avg, fed_dyn
from tests import contexts
from tests.algorithms import harness
from tests.oracles import dp_mean as oracle
from tests.oracles import fed_avg as fed_avg_oracle

SCALE = discrete_gaussian.LARGEST_SCALE
CLIP, Z, EXPECTED = 0.05, 0.7, 4.0
ADAPTIVE = dp_mean.AdaptiveClipping(target_quantile=0.3, learning_rate=0.4, count_noise=1.5)


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


@pytest.fixture
def drawn(monkeypatch):
  """The samples that are drawn in a test, from fixed bytes, as they come."""
  sample, bits, found = discrete_gaussian.sample, np.random.default_rng(5).bytes, []

  def fixed(count, scale):
    found.append(sample(count, scale, bits))
    return found[-1]

  monkeypatch.setattr(discrete_gaussian, 'sample', fixed)
  return found


def standard(samples, shapes):
  """Samples as noise of standard deviation 1, by tensor."""
  ends = np.cumsum([math.prod(shape) for shape in shapes])
  parts = np.split(samples / SCALE, ends)
  return [part.reshape(shape) for part, shape in zip(parts, shapes)], float(parts[-1][0])


def delta(weights, data):
  trained = fed_avg_oracle.local_sgd(weights, data, harness.RATE)
  return [new - old for new, old in zip(trained, weights)]


def vectors(combiner, dimension):
  """(initialize, next) of a combiner of vectors, `next` taking (state, updates, draw)."""
  update = tff.to_type([tff.TensorType(np.float32, (dimension,))])
  combining, draw = combiner.create(update), combiner.draw(update)
  arrived = tff.to_type([('update', update)])

  @tff.federated_computation(
    combining.initialize.type_signature.result,
    tff.FederatedType(arrived, tff.CLIENTS),
    tff.FederatedType(draw.type, tff.SERVER),
  )
  def next_round(state, arrived, drawn):
    return combining.next(state, arrived, drawn)

  run = lambda state, updates, drawn: next_round(
    state, [{'update': [np.float32(u)]} for u in updates], drawn
  )
  return combining.initialize, run, draw


def test_three_rounds_equal_the_oracle_of_the_float_mean(drawn):
  rounds = harness.cohorts()
  combiner = discrete_mean.DiscreteMean(CLIP, Z, EXPECTED)
  history = harness.run(harness.build(fed_avg.build(), aggregator=combiner), rounds)
  start = harness.model().initial_weights[0]
  shapes = [w.shape for w in start]
  noise = [standard(samples, shapes)[0] for samples in drawn]
  harness.assert_same(
    history, oracle.dp_fed_avg(start, rounds, delta, CLIP, Z, EXPECTED, noise), 2e-5
  )


@pytest.mark.parametrize('method', [fed_avg.build(), fed_dyn.build(alpha=0.1)])
def test_fused_equals_native_with_and_without_client_states(method, drawn, monkeypatch):
  rounds = harness.cohorts()[:2]
  build = lambda: harness.build(
    method, aggregator=discrete_mean.DiscreteMean(CLIP, Z, EXPECTED, ADAPTIVE)
  )
  fused = harness.run(build(), rounds)
  again = iter(list(drawn))
  monkeypatch.setattr(discrete_gaussian, 'sample', lambda count, scale: next(again))
  with runtime.use_context('native'):
    native = harness.run(build(), rounds)
  harness.assert_same(fused, native, harness.ANOTHER_BUILD)


def test_adaptive_clipping_equals_its_oracle(drawn):
  updates = np.random.default_rng(1).normal(size=(5, 4))
  initialize, run, draw = vectors(discrete_mean.DiscreteMean(1.5, 1.2, 6.0, ADAPTIVE), 4)
  state, norm = initialize(), 1.5
  multiplier = dp_mean.update_noise_multiplier(1.2, ADAPTIVE.count_noise)
  for _ in range(3):
    output = run(state, updates, draw.sample())
    state = output.state
    noise, count_noise = standard(drawn[-1], [(4,)])
    mean, below = oracle.mean([[u] for u in updates], norm, multiplier, 6.0, noise)
    np.testing.assert_allclose(output.result[0], mean[0], rtol=1e-4, atol=1e-5)
    assert output.measurements['clip_norm'] == pytest.approx(norm, rel=1e-5)
    stddev = multiplier * norm / 6.0
    assert output.measurements['noise_stddev'] == pytest.approx(stddev, rel=1e-4)
    norm = oracle.next_norm(norm, below, 5, 6.0, 0.3, 0.4, 1.5, count_noise)
  assert state['clip_norm'] == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize('adaptive', [None, ADAPTIVE])
@pytest.mark.parametrize('z', [0.001, 0.3, 1.0, 2.9])
def test_no_client_adds_more_than_the_accountant_allows_for(z, adaptive):
  combiner = discrete_mean.DiscreteMean(0.1, z, 1.0, adaptive)
  draws = np.random.default_rng(2)
  for size in (0.0, 1e-38, 1e-3, 0.1, 1e3, 1e30, 3e38, np.inf, np.nan):
    # One large entry, many equal ones, and anything.
    for update in (np.eye(50)[3], np.ones(50) / 50**0.5, draws.normal(size=50)):
      with np.errstate(over='ignore', invalid='ignore'):
        update = (update * size).astype(np.float32)
      added = combiner._contribution([update], np.float32(0.1))
      whole = [int(n) for n in added['update'][0].numpy()] + [int(added['count'])]
      assert sum(n * n for n in whole) <= (SCALE / Fraction(z)) ** 2
      if 0.1 <= size <= 1e30:
        longest = math.hypot(*whole[:-1]) / combiner._unit
        assert longest == pytest.approx(1.0, abs=1e-4)


def test_what_is_released_are_whole_numbers_of_the_unit(drawn):
  initialize, run, draw = vectors(discrete_mean.DiscreteMean(1.0, 1.0, 1.0), 50)
  released = np.asarray(run(initialize(), [np.zeros(50)], draw.sample()).result[0])
  np.testing.assert_allclose(released * SCALE, drawn[-1][:50], rtol=1e-6)
  assert np.any(drawn[-1][:50] % 2)


def test_secure_sums_give_the_same(drawn):
  updates, secure = np.random.default_rng(1).normal(size=(5, 4)), sums.SecureSums(1.0, 5)
  noise, found = None, []
  for how in (sums.CLEAR, secure):
    initialize, run, draw = vectors(discrete_mean.DiscreteMean(1.5, 0.01, 6.0, ADAPTIVE, how), 4)
    noise = noise or draw.sample()
    found.append(run(initialize(), updates, noise))
  np.testing.assert_array_equal(found[0].result[0], found[1].result[0])
  assert found[0].state == found[1].state


def test_an_empty_cohort_still_gives_noise(drawn):
  combiner = discrete_mean.DiscreteMean(CLIP, Z, EXPECTED)
  process = harness.build(fed_avg.build(), aggregator=combiner)
  after = process.model_weights(process.run_round(process.initialize(), []).state)
  noise, _ = standard(drawn[-1], [w.shape for w in after])
  start = harness.model().initial_weights[0]
  expected = [w + Z * CLIP / EXPECTED * n for w, n in zip(start, noise)]
  harness.assert_same([after], [expected], 2e-5)


def test_no_seed_and_no_state_gives_the_noise_back():
  combiner = discrete_mean.DiscreteMean(CLIP, Z, EXPECTED)
  process = harness.build(fed_avg.build(), aggregator=combiner)
  state, cohort = process.initialize(), harness.cohorts()[0]
  once, again = (process.model_weights(process.run_round(state, cohort).state) for _ in range(2))
  assert all(np.any(a != b) for a, b in zip(once, again))
  with pytest.raises(TypeError):
    process.next(state, cohort)


@pytest.mark.parametrize(
  'arguments',
  [
    (math.inf, 1.0, 1.0),
    (1.0, 0.0, 1.0),
    (1.0, 1.0, 0.0),
    (1.0, 1.0, 1.0, dp_mean.AdaptiveClipping(0.5, 0.2, 0.4)),
    (1.0, 1.0, 1.0, dp_mean.AdaptiveClipping(0.5, 0.2, 1e9)),
  ],
)
def test_what_leaves_no_guarantee_is_refused(arguments):
  with pytest.raises(ValueError, match=r'must be|no budget'):
    discrete_mean.DiscreteMean(*arguments)

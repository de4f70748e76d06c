"""Who is chosen, from given losses and reports, against the papers' rules in plain Python."""

import math
import time

import numpy as np
import pytest

from fl_research import registry
from fl_research import settings as settings_lib
from fl_research.population import choosers, cohorts, draws, oort, power_of_choice
from fl_research.population import rule as rule_lib
from fl_research.population.scores import Scores
from fl_research.soundness import validation
from tests import slow_machines
from tests.oracles import choosers as oracle

SIZES = np.array([5, 10, 20, 40, 25, 8, 16, 30, 12, 22])
EVERYBODY = np.arange(10)


def moment(round_num=1, count=3, eligible=EVERYBODY, scores=None, losses=None, sizes=SIZES, seed=3):
  def ask(clients, of_a_batch):
    assert not of_a_batch
    return losses[clients]

  scores = Scores.of(len(sizes)) if scores is None else scores
  return rule_lib.Moment(seed, round_num, eligible, sizes, count, scores, ask)


def build(name, **hyperparameters):
  return choosers.build(name, hyperparameters)


def drawn_by_size(round_num, number, eligible=EVERYBODY):
  return draws.by_size(moment(round_num).generator('cohort by_size'), eligible, SIZES, number)


@pytest.mark.parametrize('number', [4, 7, 10, 50])
def test_power_of_choice_takes_the_highest_losses_of_its_candidates(number):
  losses = np.array([2, 1, 2, np.nan, 0.5, 3, 3, np.inf, 1, 0.1])
  known = np.where(np.isnan(losses), -np.inf, losses)
  rule = build('power_of_choice', candidates=number)
  for round_num in range(1, 30):
    drawn = drawn_by_size(round_num, number)
    chosen = rule.choose(moment(round_num, losses=losses))
    assert set(chosen) == oracle.power_of_choice(drawn, known[drawn], 3) and len(chosen) == 3


def test_as_many_candidates_as_are_wanted_are_the_cohort_by_size():
  sampler = cohorts.CohortSampler('by_size', 3, SIZES, seed=3)
  rule = build('power_of_choice', candidates=3)  # Nobody need be asked: there are no losses.
  for round_num in range(1, 20):
    chosen = np.sort(rule.choose(moment(round_num)))
    np.testing.assert_array_equal(chosen, sampler.cohort(round_num))


def test_equal_losses_leave_it_to_the_draw_and_last_losses_ask_nobody():
  scores = Scores.of(10)
  rule = build('power_of_choice', candidates=6, loss='last')
  for round_num in range(1, 20):
    # Who never reported has an infinite loss, and so have all here.
    chosen = rule.choose(moment(round_num, scores=scores))
    np.testing.assert_array_equal(chosen, drawn_by_size(round_num, 6)[:3])
  scores.report(1, EVERYBODY[:9], loss=np.arange(9.0))
  chosen = build('power_of_choice', candidates=10, loss='last').choose(moment(2, scores=scores))
  assert set(chosen) == {9, 8, 7}


def test_twice_the_cohort_are_candidates_where_that_is_left_open():
  losses, rule = -np.arange(10.0), build('power_of_choice', candidates=0)
  for round_num in range(1, 20):
    drawn = drawn_by_size(round_num, 6)
    chosen = rule.choose(moment(round_num, losses=losses))
    assert set(chosen) == oracle.power_of_choice(drawn, losses[drawn], 3)


def test_highest_breaks_ties_by_place():
  np.testing.assert_array_equal(power_of_choice.highest(np.array([1.0, 2, 2, 2, 0]), 2), [1, 2])


def reported(rng, number=8):
  """Scores of the first clients, and the same for the oracle."""
  scores = Scores.of(10)
  clients = EVERYBODY[:number]
  columns = {
    'squared_loss': rng.uniform(0.1, 4.0, number),
    'seconds': rng.uniform(1.0, 9.0, number),
    'examples': SIZES[:number],
  }
  scores.report(5, clients, **columns)
  scores.seen[clients] = rng.integers(1, 6, number)
  rows = zip(columns['examples'], columns['squared_loss'], columns['seconds'], scores.seen)
  return scores, {k: tuple(map(float, row)) for k, row in zip(clients.tolist(), rows)}


@pytest.mark.parametrize('clip, alpha, start', [(0.95, 2.0, 0.3), (0.5, 0.0, 1.0), (1.0, 1.0, 0.6)])
def test_oort_scores_and_draws_as_the_paper_has_it(clip, alpha, start):
  rng = np.random.default_rng(1)
  everybody_known = {'exploration': 0.0, 'exploration_min': 0.0}
  for round_num in range(6, 12):
    scores, reports = reported(rng)
    given = {'clip': clip, 'alpha': alpha, 'pacer_start': start, **everybody_known}
    seconds = sorted(row[2] for row in reports.values())
    preferred = math.inf if start == 1.0 else seconds[math.ceil(start * 8) - 1]
    expected = oracle.oort_scores(reports, round_num, clip, preferred, alpha)
    now = moment(round_num, scores=scores)
    rule = build('oort', cutoff=1.0, **given)
    assert rule.preferred_seconds(scores) == preferred
    found = rule.scores_of(now, EVERYBODY[:8], preferred)
    np.testing.assert_allclose(found, list(expected.values()), rtol=1e-12)
    # With c = 1 the pool is the best three, and all of them are drawn; but for equal scores.
    chosen, pool = set(rule.choose(now)), oracle.oort_pool(expected, 3, 1.0)
    assert chosen <= pool and len(chosen) == 3
    wider = build('oort', cutoff=0.6, **given)
    seen = {
      k for s in range(60) for k in wider.choose(moment(round_num, scores=scores, seed=s)).tolist()
    }
    assert seen == oracle.oort_pool(expected, 3, 0.6)


def test_oort_explores_who_is_new_and_less_and_less():
  scores, _ = reported(np.random.default_rng(2), number=5)
  rule = build('oort', exploration=1.0, exploration_decay=0.5, exploration_min=0.25)
  assert [rule.exploration(r) for r in (1, 2, 3, 4)] == [1.0, 0.5, 0.25, 0.25]
  new_of = lambda round_num: np.sum(
    rule.choose(moment(round_num, count=4, scores=scores, seed=round_num)) >= 5
  )
  assert [new_of(r) for r in (1, 2, 3, 9)] == [4, 2, 1, 1]
  assert rule.measures()['exploration'] == 0.25
  known, _ = reported(np.random.default_rng(2), number=8)
  rule.choose(moment(9, eligible=EVERYBODY[:8], scores=known))
  assert rule.measures()['exploration'] == 0.0


def test_oort_leaves_out_who_reported_often_while_others_are_there():
  scores, _ = reported(np.random.default_rng(2), number=10)
  scores.times[:6] = 3
  rule = build('oort', most_rounds=2)
  assert set(rule.choose(moment(7, count=4, scores=scores))) == {6, 7, 8, 9}
  chosen = rule.choose(moment(7, count=6, scores=scores))
  assert len(set(chosen)) == 6 and {6, 7, 8, 9} < set(chosen)
  assert len(set(rule.choose(moment(7, count=50, scores=scores)))) == 10


def test_the_pacer_lets_slower_clients_in_when_utility_no_longer_rises():
  scores, _ = reported(np.random.default_rng(3), number=10)
  rule = build('oort', pacer_start=0.5, pacer_rounds=2, pacer_delta=0.3)
  before = rule.preferred_seconds(scores)

  def two_rounds(squared_loss):
    scores.squared_loss[:] = squared_loss
    for _ in range(2):
      rule.learn(EVERYBODY[:3], scores)
    return rule.preferred_seconds(scores)

  assert two_rounds(4.0) == before  # The first two have nothing to be compared with.
  assert two_rounds(9.0) == before
  assert two_rounds(1.0) > before
  again = build('oort', pacer_start=0.5, pacer_rounds=2, pacer_delta=0.3)
  again.resume(rule.saved())
  assert again.preferred_seconds(scores) == rule.preferred_seconds(scores)
  rule.resume({})
  assert rule.preferred_seconds(scores) == before


@pytest.mark.parametrize('count', [1, 3, 6, 9, 12])
def test_optimal_probabilities_have_the_least_variance(count):
  rule, rng = build('optimal'), np.random.default_rng(count)
  for _ in range(20):
    lengths = rng.exponential(size=9) ** 2
    found = rule.probabilities(lengths, count)
    expected = oracle.optimal_probabilities(lengths, count) if count < 9 else np.ones(9)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_by_sums_they_are_below_and_come_to_the_same():
  rng = np.random.default_rng(8)
  for _ in range(20):
    lengths = rng.exponential(size=9) ** 3
    exact = oracle.optimal_probabilities(lengths, 4)
    few, many = (build('optimal', iterations=j).probabilities(lengths, 4) for j in (1, 30))
    assert np.all(few <= exact + 1e-9) and few.sum() <= 4 + 1e-9
    np.testing.assert_allclose(many, exact, atol=1e-9)
    # By hand: u = (1, 1, 8), m = 2: p = (0.2, 0.2, 1), then C = 1 / 0.4.
  by_hand = build('optimal', iterations=1).probabilities(np.array([1.0, 1.0, 8.0]), 2)
  np.testing.assert_allclose(by_hand, [0.5, 0.5, 1.0])
  assert not build('optimal', iterations=2).probabilities(np.zeros(4), 2).any()


def test_optimal_probabilities_of_updates_of_no_length():
  rule = build('optimal')
  np.testing.assert_array_equal(rule.probabilities(np.zeros(4), 2), np.zeros(4))
  np.testing.assert_allclose(rule.probabilities(np.array([0.0, 3, 0, 0]), 2), [0, 1, 0, 0])
  np.testing.assert_array_equal(rule.probabilities(np.zeros(0), 2), np.zeros(0))
  np.testing.assert_allclose(rule.probabilities(np.full(4, 2.0), 2), np.full(4, 0.5))


def test_fewer_candidates_than_are_wanted_are_refused():
  assert choosers.num_candidates('optimal', 0, 5) == 10
  with pytest.raises(registry.UsageError, match=r'^--optimal_candidates=4: .* here 5, or more'):
    choosers.num_candidates('optimal', 4, 5)


def test_scores_go_into_a_checkpoint_and_back():
  scores = Scores.of(6)
  scores.report(2, np.array([4, 1]), loss=np.array([0.5, 1.5]), examples=np.array([7, 8]))
  scores.report(3, np.array([4]), loss=np.array([0.25]))
  saved = scores.saved()
  assert saved['clients'].tolist() == [1, 4] and saved['times'].tolist() == [1, 2]
  other = Scores.of(6)
  other.report(9, np.arange(6), loss=np.zeros(6))
  other.resume(saved)
  for name in vars(scores):
    np.testing.assert_array_equal(getattr(other, name), getattr(scores, name))
  other.resume({})
  assert not other.seen.any() and np.isinf(other.loss).all()


def test_a_million_clients_cost_a_few_passes_over_arrays():
  number = 10**6
  rng = np.random.default_rng(0)
  scores = Scores.of(number)
  known = np.arange(0, number, 2)
  numbers = {n: rng.uniform(1, 2, len(known)) for n in ('loss', 'squared_loss', 'seconds')}
  scores.report(1, known, examples=np.ones(len(known)), **numbers)
  now = moment(2, 100, np.arange(number), scores, sizes=np.ones(number, np.int64))
  begin = time.process_time()
  for rule in (build('oort', exploration=0.5), build('power_of_choice', loss='last')):
    assert len(set(rule.choose(now))) == 100
  assert time.process_time() - begin < slow_machines.seconds(1)


@pytest.mark.parametrize('name', choosers.CHOOSERS)
@pytest.mark.parametrize(
  'flags, message',
  [
    ({'secure_aggregation': 'clear'}, '--secure_aggregation=clear: not with'),
    ({'runtime': 'federation', 'federation': 'direct:a=unix:/a'}, '--runtime=federation: not with'),
    ({'local_only': True}, '--local_only=true: not with'),
    ({'aggregation_trigger': 'buffer'}, '--cohort_sampling=.*: not with --aggregation_trigger'),
    ({'dp_noise_multiplier': 1.0, 'dp_clip_norm': 1.0}, '--dp_noise_multiplier=1.0: not with'),
  ],
)
def test_what_no_rule_goes_with(name, flags, message):
  given = {'task': 'digits', 'experiment_name': 'x', 'cohort_sampling': name, **flags}
  with pytest.raises(registry.UsageError, match=f'^{message}'):
    validation.validate(settings_lib.Settings(**given))


def test_utility_is_the_root_of_the_mean_square_times_the_examples():
  scores = Scores.of(2)
  losses = np.array([1.0, 3.0])
  scores.report(1, np.array([1]), examples=np.array([2]), squared_loss=np.mean(losses**2))
  np.testing.assert_allclose(oort.utilities(scores, np.array([1])), [2 * np.sqrt(5.0)])


def test_losses_beyond_all_floats_leave_oort_a_choice():
  scores, _ = reported(np.random.default_rng(2), number=10)
  scores.squared_loss[[2, 5]] = [np.inf, np.nan]
  rule = build('oort', exploration=0.0, exploration_min=0.0, clip=1.0, cutoff=1.0)
  chosen = rule.choose(moment(7, count=4, scores=scores))
  assert len(set(chosen)) == 4 and 2 in chosen and 5 not in chosen

"""Cohorts: pure functions of (seed, round), with the distribution that their name says."""

import numpy as np
import pytest

from fl_research import random_streams
from fl_research.population import cohorts
from fl_research.population.cohorts import AvailabilityTrace, CohortSampler
from fl_research.registry import UsageError

SIZES = np.array([5, 0, 10, 20, 40, 25])
IDS = ['a', 'b', 'c', 'd', 'e', 'f']
ROUNDS = 4000


def sampler(sampling, clients_per_round=2, sizes=SIZES, seed=3, availability=None):
  return CohortSampler(sampling, clients_per_round, sizes, seed, availability)


def trace(tmp_path, *lines, ids=IDS, others=()):
  path = tmp_path / 'trace.csv'
  path.write_text('\n'.join(['client_id,first_round,last_round', *lines]) + '\n')
  return AvailabilityTrace(str(path), ids, others)


def frequencies(drawer):
  """How often each client was drawn per round."""
  drawn = np.concatenate([drawer.cohort(r) for r in range(1, ROUNDS + 1)])
  return np.bincount(drawn, minlength=len(drawer.sizes)) / ROUNDS


def assert_near(found, expected):
  """Within five standard errors of a frequency."""
  error = np.sqrt(np.maximum(expected, 0.01) / ROUNDS)
  np.testing.assert_array_less(np.abs(found - expected), 5 * error)


@pytest.mark.parametrize('sampling', cohorts.SAMPLINGS)
def test_cohorts_are_pure_functions_of_seed_and_round(sampling):
  one, other = sampler(sampling), sampler(sampling)
  forwards = [one.cohort(r).tolist() for r in range(1, 30)]
  backwards = [other.cohort(r).tolist() for r in range(29, 0, -1)]
  assert forwards == backwards[::-1]
  assert forwards != [sampler(sampling, seed=4).cohort(r).tolist() for r in range(1, 30)]
  assert len({tuple(cohort) for cohort in forwards}) > 3
  for cohort in forwards:
    assert cohort == sorted(cohort)
    assert 1 not in cohort, 'a client without examples was drawn'
    assert len(set(cohort)) == len(cohort) or sampling == 'with_replacement'


def test_uniform():
  drawer = sampler('uniform')
  assert {len(drawer.cohort(r)) for r in range(50)} == {2}
  assert_near(frequencies(drawer), np.where(SIZES > 0, 2 / 5, 0))


def test_by_size():
  # One draw: exactly in proportion. Two draws without replacement: p_i + sum_j p_j p_i/(1-p_j).
  p = SIZES / SIZES.sum()
  assert_near(frequencies(sampler('by_size', 1)), p)
  second = np.array([sum(p[j] * p[i] / (1 - p[j]) for j in range(6) if j != i) for i in range(6)])
  assert_near(frequencies(sampler('by_size', 2)), p + second)


def test_with_replacement():
  drawer = sampler('with_replacement', 3)
  drawn = [drawer.cohort(r) for r in range(200)]
  assert {len(cohort) for cohort in drawn} == {3}
  assert any(len(set(cohort)) < 3 for cohort in drawn)
  assert_near(frequencies(drawer), np.where(SIZES > 0, 3 / 5, 0))


def test_poisson():
  drawer = sampler('poisson', 2)
  counts = np.array([len(drawer.cohort(r)) for r in range(1, ROUNDS + 1)])
  assert set(counts) == {0, 1, 2, 3, 4, 5}
  # Binomial(5, 2/5).
  np.testing.assert_allclose([counts.mean(), counts.var()], [2, 1.2], rtol=0.1)
  assert_near(frequencies(drawer), np.where(SIZES > 0, 2 / 5, 0))


def test_availability(tmp_path):
  availability = trace(tmp_path, 'a,1,10', 'b,1,10', 'c,5,6', 'c,9,9', 'd,3,8', 'e,20,30')
  drawer = sampler('uniform', availability=availability)
  assert drawer.cohort(1).tolist() == [0]
  assert drawer.cohort(11).tolist() == []
  drawn = {
    tuple(sampler('uniform', seed=s, availability=availability).cohort(5)) for s in range(50)
  }
  assert drawn == {(0, 2), (0, 3), (2, 3)}
  assert [availability.available(r)[2] for r in (4, 5, 6, 7, 8, 9, 10)] == [0, 1, 1, 0, 0, 1, 0]
  assert not any(availability.available(r)[5] for r in range(40))


@pytest.mark.parametrize('sampling', cohorts.SAMPLINGS)
def test_only_those_are_drawn_that_are_available_and_ready(sampling, tmp_path):
  availability = trace(tmp_path, *(f'{client},1,30' for client in 'abcde'), 'f,2,2')
  drawer = sampler(sampling, availability=availability)
  ready = np.array([False, True, True, False, True, True])
  drawn = [drawer.cohort(r, ready).tolist() for r in range(3, 30)]
  assert set().union(*drawn) == {2, 4}
  assert drawer.cohort(3, np.zeros(6, bool)).tolist() == drawer.cohort(31).tolist() == []
  everybody = np.ones(6, bool)
  assert [sampler(sampling).cohort(r).tolist() for r in range(9)] == [
    sampler(sampling).cohort(r, everybody).tolist() for r in range(9)
  ]


def test_a_trace_may_name_clients_that_are_held_out(tmp_path):
  availability = trace(tmp_path, 'a,1,2', 'z,1,2', others=['z'])
  assert availability.available(1).tolist() == [True, *[False] * 5]


def test_numeric_ids_in_a_trace(tmp_path):
  assert trace(tmp_path, '07,1,2', ids=['7', '07']).available(1).tolist() == [False, True]


@pytest.mark.parametrize(
  'lines, message',
  [
    (['x,1,2'], 'client_id x is not a client'),
    (['a,one,2'], 'must be numbers in every line'),
    (['a,1,'], 'must be numbers in every line'),
    (['a,1,2,3,4', 'b,1'], r'cannot be read as CSV|must be numbers|not a client'),
  ],
)
def test_bad_traces(lines, message, tmp_path):
  with pytest.raises(UsageError, match=message):
    trace(tmp_path, *lines)


def test_a_cohort_of_a_hundred_thousand_clients_is_drawn_at_once():
  drawer = sampler('uniform', 50, np.ones(100_000, np.int64))
  assert len(set(drawer.cohort(1))) == 50


@pytest.mark.parametrize('sampling', ['uniform', 'poisson'])
def test_a_fresh_cohort_is_as_likely_as_ever_but_no_seed_gives_it_back(sampling):
  fresh = CohortSampler(sampling, 2, SIZES, seed=3, fresh=True)
  assert_near(frequencies(fresh), np.array([0.4, 0, 0.4, 0.4, 0.4, 0.4]))
  drawn = lambda: [fresh.cohort(r).tolist() for r in range(1, 30)]
  first = drawn()
  assert first != drawn() and all(cohort == sorted(set(cohort)) for cohort in first)
  if sampling == 'uniform':
    assert {len(cohort) for cohort in first} == {2}


@pytest.mark.parametrize('sampling', ['uniform', 'by_size', 'with_replacement', 'poisson'])
def test_everybody_is_drawn_from_as_from_an_array_of_all(sampling):
  sizes = np.arange(1, 60)
  draw = getattr(cohorts.SAMPLINGS[sampling].load(), sampling)
  for round_num in range(1, 6):
    generator = random_streams.generator(3, f'cohort {sampling}', round_num)
    expected = np.sort(draw(generator, np.arange(59), sizes, 7))
    for all_filled in (False, True):
      sampler = CohortSampler(sampling, 7, sizes, seed=3, all_filled=all_filled)
      assert sampler.cohort(round_num).tolist() == expected.tolist()

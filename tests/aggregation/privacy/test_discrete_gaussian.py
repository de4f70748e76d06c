"""The exact sampler against the probabilities that it should have, on fixed random bytes."""

import math
import os

import numpy as np
import pytest
from scipy import stats

from fl_research.aggregation.privacy import discrete_gaussian


def fixed(seed):
  return np.random.default_rng(seed).bytes


def pmf(scale):
  """Values within twelve standard deviations, and their probabilities."""
  values = np.arange(-12 * scale, 12 * scale + 1)
  weights = np.exp(-(values**2) / (2 * scale**2))
  return values, weights / weights.sum()


@pytest.mark.parametrize('scale', [1, 2, 5])
def test_frequencies_are_those_of_the_discrete_gaussian(scale):
  count = 40_000
  found = discrete_gaussian.sample(count, scale, fixed(scale))
  values, probabilities = pmf(scale)
  # Tails that expect fewer than five are one class each.
  inside = count * probabilities >= 5
  low, high = values[inside][0], values[inside][-1]
  clipped = np.clip(found, low, high)
  observed = np.array([np.sum(clipped == v) for v in range(low, high + 1)])
  expected = probabilities[inside]
  expected[0] += probabilities[values < low].sum()
  expected[-1] += probabilities[values > high].sum()
  assert stats.chisquare(observed, count * expected).pvalue > 1e-3


def test_moments_at_the_scale_of_noise():
  count, scale = 40_000, discrete_gaussian.LARGEST_SCALE
  standard = discrete_gaussian.sample(count, scale, fixed(0)) / scale
  assert abs(standard.mean()) < 4 / math.sqrt(count)
  assert abs(standard.var() - 1) < 4 * math.sqrt(2 / count)
  assert abs((standard**4).mean() - 3) < 4 * math.sqrt(96 / count)
  assert stats.kstest(standard, 'norm').pvalue > 1e-3


@pytest.mark.parametrize(
  ('numerator', 'denominator'), [(0, 3), (1, 3), (3, 3), (7, 3), (2**40, 2**41)]
)
def test_coins_have_their_probability(numerator, denominator):
  count = 40_000
  heads = discrete_gaussian._coins(np.full(count, numerator), denominator, fixed(1)).sum()
  expected = math.exp(-numerator / denominator)
  if expected == 1:
    assert heads == count
  else:
    assert stats.binomtest(int(heads), count, expected).pvalue > 1e-3


@pytest.mark.parametrize('bound', [1, 2, 3, 6, 2**63])
def test_dice_are_fair_to_the_last_word(bound):
  # The words at the edge: what would favour small numbers is drawn again.
  words = [2**64 - 1, 2**64 - 1 - 2**64 % bound, 5]
  data = b''.join(word.to_bytes(8, 'little') for word in words)
  taken = []

  def source(count):
    start = sum(taken)
    taken.append(count)
    return data[start : start + count]

  (number,) = discrete_gaussian._below(bound, 1, source)
  first = words[1] if 2**64 % bound else words[0]
  assert number == first % bound


def test_the_system_draws_and_nothing_repeats(monkeypatch):
  first, second = (discrete_gaussian.sample(50, 2**20) for _ in range(2))
  assert len(first) == 50 and first.dtype == np.int64 and np.any(first != second)
  assert discrete_gaussian.sample.__defaults__ == (os.urandom,)
  np.testing.assert_array_equal(*(discrete_gaussian.sample(50, 2**20, fixed(3)) for _ in range(2)))


def test_bytes_that_are_not_random_end_in_an_error():
  # An even word that three does not divide: every coin of probability exp(-1) shows heads.
  with pytest.raises(OverflowError, match='not random'):
    discrete_gaussian._heads_in_a_row(1, lambda count: bytes([4, *[0] * 7]) * (count // 8))

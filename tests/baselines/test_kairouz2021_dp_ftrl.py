"""Sensitivities of trees, against all ways to take part, written down one by one."""

import itertools

import dp_accounting
from dp_accounting import rdp
import pytest

from baselines.kairouz2021_dp_ftrl import accounting


def _sensitivity(rounds, leaves):
  """S of taking part at these leaves of a tree; only complete nodes count."""
  total, size = 0, 1
  while size <= rounds:
    starts = range(0, rounds - size + 1, size)
    total += sum(sum(start <= leaf < start + size for leaf in leaves) ** 2 for start in starts)
    size *= 2
  return total


def _patterns(rounds, separation, most):
  for count in range(1, most + 1):
    for leaves in itertools.combinations(range(rounds), count):
      if all(b - a >= separation for a, b in itertools.pairwise(leaves)):
        yield leaves


@pytest.mark.parametrize('separation', [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize('rounds', [1, 7, 8, 13, 16, 19])
def test_the_worst_rounds_to_take_part_are_found(rounds, separation):
  for most in (1, 2, 3, 4):
    expected = max(_sensitivity(rounds, leaves) for leaves in _patterns(rounds, separation, most))
    assert accounting.separated_sensitivity(rounds, separation, most) == expected


@pytest.mark.parametrize('steps, epochs', [(1, 1), (3, 1), (3, 5), (4, 4), (5, 3)])
def test_epochs_of_the_same_order(steps, epochs):
  rounds = steps * epochs
  full = 1 << (rounds - 1).bit_length()
  patterns = [range(step, rounds, steps) for step in range(steps)]
  for complete, size in ((False, rounds), (True, full)):
    expected = max(_sensitivity(size, leaves) for leaves in patterns)
    assert accounting.same_order_sensitivity(steps, epochs, complete) == expected


def test_those_who_take_part_once_have_the_guarantee_of_the_library():
  ours = accounting.epsilon_with_separation(64, 64, 1, noise_multiplier=4.0, delta=1e-6)
  accountant = rdp.RdpAccountant(
    neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_SPECIAL
  )
  accountant.compose(dp_accounting.SingleEpochTreeAggregationDpEvent(4.0, 64))
  assert ours == pytest.approx(accountant.get_epsilon(1e-6))


def test_restarts_keep_participations_apart():
  restarting = accounting.epsilon_with_restarts(10, 8, 2, 30.0, 1e-5)
  assert restarting < accounting.epsilon_with_restarts(10, 8, 8, 30.0, 1e-5)

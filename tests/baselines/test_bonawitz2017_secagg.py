"""What the formula of the expansion must be where it can be counted by hand."""

import pytest

from baselines.bonawitz2017_secagg import expansion


def test_a_long_vector_costs_only_the_room_that_sums_need():
  assert expansion.expansion(2**8, 2**40, 16) == pytest.approx((16 + 8) / 16, abs=1e-6)


def test_keys_and_shares_by_hand():
  # Two users, one number of 1 bit: 1 + 1 bits, 4 keys and 6 shares of 256 bits.
  assert expansion.expansion(2, 1, 1) == 2 + 10 * 256

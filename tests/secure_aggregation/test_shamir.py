"""Shares of secrets: t restore them, fewer do not."""

import itertools

import pytest

from fl_research.secure_aggregation import shamir
from fl_research.secure_aggregation.errors import ProtocolError
from tests.secure_aggregation import sessions

SECRET = bytes(range(224, 256))


def test_the_field_is_a_prime_one_above_all_secrets():
  assert shamir.PRIME > 2**256
  assert all(pow(base, shamir.PRIME - 1, shamir.PRIME) == 1 for base in (2, 3, 5, 7, 11, 13))


def test_any_t_restore_the_secret_and_no_fewer():
  shares = shamir.split(SECRET, [0, 3, 4, 2**32 - 1, 7], 3, sessions.entropy(0))
  assert {len(share) for share in shares.values()} == {shamir.SHARE_BYTES}
  for holders in itertools.combinations(shares, 3):
    assert shamir.join({h: shares[h] for h in holders}, 3) == SECRET
  for holders in itertools.combinations(shares, 2):
    with pytest.raises(ProtocolError, match='2 shares do not restore a secret; 3 do'):
      shamir.join({h: shares[h] for h in holders}, 3)


def test_fewer_shares_fit_every_secret():
  """By hand: of f(x) = s + a x, the share f(1) = 10 is one of s = 10 - a, whatever a."""
  constant = lambda value: lambda size: value.to_bytes(size)
  for slope in (0, 1, 9, 10):
    shares = shamir.split((10 - slope).to_bytes(32), [0, 1], 2, constant(slope))
    assert int.from_bytes(shares[0]) == 10
    assert int.from_bytes(shares[1]) == 10 + slope


def test_shares_of_different_secrets_restore_neither():
  other = bytes(32)
  one = shamir.split(SECRET, [0, 1, 2], 2, sessions.entropy(0))
  two = shamir.split(other, [0, 1, 2], 2, sessions.entropy(1))
  assert shamir.join({0: one[0], 1: two[1]}, 2) not in (SECRET, other)


def test_a_number_of_the_field_that_is_no_secret():
  last = (shamir.PRIME - 1).to_bytes(shamir.SHARE_BYTES)
  with pytest.raises(ProtocolError, match='not of one secret'):
    shamir.join({0: last, 1: last}, 2)


def test_coefficients_are_drawn_from_far_more_numbers_than_there_are_remainders():
  asked = []
  shamir.split(SECRET, [0, 1, 2], 3, lambda size: asked.append(size) or bytes(size))
  assert asked == [32 + 16] * 2

"""Secrets that any t of their holders restore, and fewer know nothing of.

Shamir 1979, "How to Share a Secret": the secret is the value at 0 of a polynomial of degree t - 1
with coefficients drawn at random from a prime field; holder h is given its value at h + 1.
"""

from collections.abc import Mapping, Sequence
import functools

from fl_research.secure_aggregation.errors import ProtocolError
from fl_research.secure_aggregation.keys import Entropy, SECRET_BYTES

PRIME = 2**256 + 297
"""The smallest prime above all secrets."""

SHARE_BYTES = SECRET_BYTES + 1

_COEFFICIENT_BYTES = SECRET_BYTES + 16  # Modulo the prime these are even to 2^-127.


def split(
  secret: bytes, holders: Sequence[int], threshold: int, entropy: Entropy
) -> dict[int, bytes]:
  """A share of 33 bytes for each holder.

  Args:
    secret: 32 bytes.
    holders: different numbers from 0.
    threshold: t, at most as many as there are holders.
    entropy: what draws the coefficients.
  """
  drawn = (entropy(_COEFFICIENT_BYTES) for _ in range(threshold - 1))
  polynomial = [int.from_bytes(coefficient) % PRIME for coefficient in drawn]
  polynomial.append(int.from_bytes(secret))
  return {h: _value(polynomial, h + 1).to_bytes(SHARE_BYTES) for h in holders}


def _value(polynomial: Sequence[int], point: int) -> int:
  """The value at a point of the polynomial with these coefficients, the highest first."""
  value = 0
  for coefficient in polynomial:
    value = (value * point + coefficient) % PRIME
  return value


def join(shares: Mapping[int, bytes], threshold: int) -> bytes:
  """The secret of which these are shares, by holder; the first t are looked at.

  Raises:
    ProtocolError: there are fewer than t, or they are no shares of one secret.
  """
  if len(shares) < threshold:
    raise ProtocolError(f'{len(shares)} shares do not restore a secret; {threshold} do')
  holders = tuple(sorted(shares)[:threshold])
  values = [int.from_bytes(shares[holder]) for holder in holders]
  secret = sum(v * w for v, w in zip(values, _weights(holders))) % PRIME
  if secret.bit_length() > 8 * SECRET_BYTES:
    raise ProtocolError('the shares are not of one secret')
  return secret.to_bytes(SECRET_BYTES)


@functools.lru_cache(maxsize=64)
def _weights(holders: tuple[int, ...]) -> list[int]:
  """Lagrange's weights: the value at 0 of a polynomial is the sum of its values times these."""
  points = [holder + 1 for holder in holders]
  weights = []
  for point in points:
    above, below = 1, 1
    for other in points:
      if other != point:
        above, below = above * other % PRIME, below * (other - point) % PRIME
    weights.append(above * pow(below, -1, PRIME) % PRIME)
  return weights

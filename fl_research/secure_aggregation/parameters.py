"""What all parties of a session know before it begins."""

import dataclasses
import hashlib
from typing import Optional

LEAST_CLIENTS = 3
"""Of two clients each learns the other's vector from the sum."""

_SESSION_BYTES = 16
_LARGEST_ROUND = 2**64 - 1


def session_of(name: str) -> bytes:
  """The session id of an experiment, by its name: 16 bytes."""
  return hashlib.sha256(name.encode()).digest()[:_SESSION_BYTES]


@dataclasses.dataclass(frozen=True)
class Parameters:
  """What all parties of a session know before it begins.

  Attributes:
    session: 16 bytes that no other experiment has.
    round_num: from 0, below 2^64; no two sessions of an experiment have the same one.
    size: entries of a vector, at least 1.
    bits: b, from 1 to 64: sums are taken modulo 2^b.
    threshold: t, at least 2: how many of those who hold the shares of a secret can restore it.
    degree: k, an even number of neighbours of each client; None for all others (Bonawitz et al.).
    signed: whether clients sign their keys and who is left, so that a server that lies to them is
      found out (Bonawitz et al., figure 4, what is underlined); only with all as neighbours.
  """

  session: bytes
  round_num: int
  size: int
  bits: int
  threshold: int
  degree: Optional[int] = None
  signed: bool = False

  def __post_init__(self):
    if len(self.session) != _SESSION_BYTES:
      raise ValueError(f'session: {len(self.session)} bytes; accepted are {_SESSION_BYTES}')
    if not 0 <= self.round_num <= _LARGEST_ROUND:
      raise ValueError(f'round_num: {self.round_num}; accepted is a whole number below 2^64')
    if self.size < 1:
      raise ValueError(f'size: {self.size}; accepted is a whole number from 1')
    if not 1 <= self.bits <= 64:
      raise ValueError(f'bits: {self.bits}; accepted is a whole number from 1 to 64')
    if self.threshold < 2:
      raise ValueError(f'threshold: {self.threshold}; accepted is a whole number from 2')
    if self.degree is not None and (self.degree < 2 or self.degree % 2):
      raise ValueError(f'degree: {self.degree}; accepted is an even number from 2, or None')
    if self.degree is not None and self.threshold > self.degree + 1:
      raise ValueError(f'threshold: {self.threshold}; accepted is degree + 1 at the most')
    if self.signed and self.degree is not None:
      raise ValueError('signed: only without degree, as all must agree on who is left')

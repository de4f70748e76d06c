"""Exact samples of the discrete Gaussian, by integer arithmetic on the system's random bits.

Canonne, Kamath, Steinke 2020, "The Discrete Gaussian for Differential Privacy", algorithms 1 to 3:

    P(X = x) ∝ exp(-x² / (2 σ²)),    x an integer,

by rejection from the discrete Laplace distribution P(Y = y) ∝ exp(-|y| / t), which is made of coins
that show heads with probability exp(-γ), γ rational, which are made of fair dice. No number is ever
rounded, so the distribution is the stated one and not one near it. How long a sample takes depends
on its value, as in the paper: who can time single samples learns of them.

Differences from the paper:
1. σ is an integer, and t = σ instead of ⌊σ⌋ + 1; the paper's proof holds for every t.
2. Many are drawn at once, in NumPy's integers of 64 bits. None overflows but with probability
   below exp(-1000), and then there is an error instead of a sample.
"""

from collections.abc import Callable
import os

import numpy as np

Source = Callable[[int], bytes]
"""Number of bytes -> as many random ones."""

LARGEST_SCALE = 2**20
"""With this σ all numbers fit."""

SMALLEST_MULTIPLIER = 1e-3
"""The smallest z that this σ serves: the squares of what it hides fit too."""

LARGEST_COUNT_NOISE = 1e5
"""The largest noise on a count: under more, little of the count would be left in whole numbers."""

_MOST_SCALES = 2**10
_WORD = 2**64


def sample(count: int, scale: int, source: Source = os.urandom) -> np.ndarray:
  """Independent samples, int64 [count].

  Args:
    count: how many.
    scale: σ, from 1 to `LARGEST_SCALE`.
    source: where random bytes come from: the operating system, but for tests.
  """
  if not 1 <= scale <= LARGEST_SCALE:
    raise ValueError(f'scale is {scale}, must be from 1 to {LARGEST_SCALE}')
  samples = np.zeros(0, np.int64)
  while len(samples) < count:
    proposed = _laplace(count - len(samples), scale, source)
    # γ = (|y| - σ² / t)² / (2 σ²).
    accepted = _coins((np.abs(proposed) - scale) ** 2, 2 * scale**2, source)
    samples = np.concatenate([samples, proposed[accepted]])
  return samples


def _laplace(tries: int, scale: int, source: Source) -> np.ndarray:
  """Samples of the discrete Laplace distribution, at most so many: algorithm 2."""
  rest = _below(scale, tries, source)
  rest = rest[_coins(rest, scale, source)]
  magnitude = rest + scale * _heads_in_a_row(len(rest), source)
  negative = _below(2, len(rest), source) == 1
  # Zero would come twice.
  return np.where(negative, -magnitude, magnitude)[~(negative & (magnitude == 0))]


def _heads_in_a_row(count: int, source: Source) -> np.ndarray:
  """How often coins of probability exp(-1) show heads before they first show tails."""
  heads = np.zeros(count, np.int64)
  tossing = np.arange(count)
  while len(tossing):
    tossing = tossing[_coins(np.ones(len(tossing), np.int64), 1, source)]
    heads[tossing] += 1
    if np.any(heads >= _MOST_SCALES):
      raise OverflowError('a sample beyond a thousand standard deviations: not random bytes')
  return heads


def _coins(numerators: np.ndarray, denominator: int, source: Source) -> np.ndarray:
  """Whether coins of probability exp(-γ), γ = numerator / denominator ≥ 0, show heads."""
  whole, part = np.divmod(numerators, denominator)
  heads = _coins_to_1(part, denominator, source)
  left = np.flatnonzero(heads & (whole > 0))
  while len(left):
    heads[left] = _coins_to_1(np.ones(len(left), np.int64), 1, source)
    whole[left] -= 1
    left = left[heads[left] & (whole[left] > 0)]
  return heads


def _coins_to_1(numerators: np.ndarray, denominator: int, source: Source) -> np.ndarray:
  """The same for γ ≤ 1: algorithm 1.

  Coins of probability γ / 1, γ / 2, … are tossed until the first tails, whose number is odd with
  probability exp(-γ).
  """
  odd = np.zeros(len(numerators), bool)
  tossing, number = np.arange(len(numerators)), 1
  while len(tossing):
    heads = _below(denominator * number, len(tossing), source) < numerators[tossing]
    odd[tossing[~heads]] = number % 2 == 1
    tossing, number = tossing[heads], number + 1
  return odd


def _below(bound: int, count: int, source: Source) -> np.ndarray:
  """Numbers from 0 to `bound` - 1, at most 2^63, all equally likely: int64 [count]."""
  numbers = np.frombuffer(source(8 * count), '<u8').copy()
  largest = np.uint64(_WORD - _WORD % bound - 1)
  while len(beyond := np.flatnonzero(numbers > largest)):
    numbers[beyond] = np.frombuffer(source(8 * len(beyond)), '<u8')
  return (numbers % np.uint64(bound)).astype(np.int64)

"""Numbers as whole ones that can be added up modulo 2^64, exactly, whoever adds them.

A number is rounded to a multiple of 2^-120 (so it stays what it is, unless it is tiny), and taken
modulo 2^240; six words of 40 bits each are sent, so that no word's sum over sites wraps around.
"""

from collections.abc import Sequence

import numpy as np

from fl_research.registry import UsageError

BITS = 64
"""Sums of words are taken modulo 2 to this power."""

_WORDS, _WORD_BITS, _FRACTION_BITS = 6, 40, 120
_RING_BITS = _WORDS * _WORD_BITS
_LARGEST = 2.0**100
"""What 2^19 sites may have each without their sum wrapping around."""


def to_words(values: np.ndarray) -> np.ndarray:
  """The words of some numbers, uint64 [6 · n].

  Raises:
    UsageError: one is not finite, or too large.
  """
  flat = np.asarray(values, np.float64).ravel()
  if not np.all(np.abs(flat) <= _LARGEST):
    raise UsageError(f'a sum of a column is not finite, or above {_LARGEST:.2g}; ignore the column')
  wholes = [_rounded(float(value)) % 2**_RING_BITS for value in flat]
  return np.array([word for whole in wholes for word in _words(whole)], np.uint64)


def from_words(words: np.ndarray) -> np.ndarray:
  """The numbers that words, or sums of the words of several, stand for: float64 [n]."""
  rows = words.reshape(-1, _WORDS).tolist()
  return np.array([_whole(row) / 2**_FRACTION_BITS for row in rows], np.float64)


def _rounded(value: float) -> int:
  numerator, denominator = value.as_integer_ratio()
  return ((numerator << _FRACTION_BITS + 1) + denominator) // (2 * denominator)


def _words(whole: int) -> list[int]:
  return [whole >> (_WORD_BITS * place) & (2**_WORD_BITS - 1) for place in range(_WORDS)]


def _whole(words: Sequence[int]) -> int:
  whole = sum(word << (_WORD_BITS * place) for place, word in enumerate(words)) % 2**_RING_BITS
  return whole - 2**_RING_BITS if whole >> (_RING_BITS - 1) else whole

"""Every random draw of a run as a pure function of (seed, purpose, round, client).

Nothing draws from a shared generator, so what one part of a run draws never depends on what
another part drew before it: a restarted run, another runtime or another order of clients sees the
same numbers.

A draw's arguments, all of them and nothing else, are hashed to 128 bits, from which its numbers
come. So two draws share numbers only when they share all arguments: `('a', 7)` and `('a', 7, 0)`
do not.
"""

from collections.abc import Sequence
import hashlib
import os
import random

import numpy as np

VERSION = 2
"""Which numbers the same arguments give; goes up whenever they change, as all runs then do."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _digest(seed: int, purpose: str, keys: tuple[int, ...]) -> bytes:
  """16 bytes that stand for the arguments."""
  text = repr((int(seed), purpose, *map(int, keys)))
  return hashlib.blake2b(text.encode(), digest_size=16).digest()


def generator(seed: int, purpose: str, *keys: int) -> np.random.Generator:
  """A NumPy generator for one purpose.

  Args:
    seed: the run's seed, at least 0.
    purpose: what is drawn, e.g. `'cohort'`; two purposes never share a stream.
    *keys: integers that tell draws of one purpose apart, usually the round and the client's
      position.
  """
  entropy = int.from_bytes(_digest(seed, purpose, keys), 'little')
  return np.random.Generator(np.random.PCG64(entropy))


class SystemGenerator:
  """The operating system's generator, by the names that NumPy's has: no seed gives its draws back.

  For what must stay secret, and only for that: no run that draws from it can be made again.
  """

  def random(self, size: int) -> np.ndarray:
    """Multiples of 2^-53 from [0, 1), all equally likely: float64 [size]."""
    words = np.frombuffer(os.urandom(8 * size), '<u8')
    return (words >> np.uint64(11)) * 2.0**-53

  def choice(self, a: int, size: int, replace: bool = True, shuffle: bool = True) -> np.ndarray:
    """Different numbers from 0 to a - 1, every set equally likely: int64 [size]."""
    del shuffle
    if replace:
      raise ValueError('only different numbers can be drawn')
    return np.array(random.SystemRandom().sample(range(a), size), np.int64)


def stateless_seed(seed: int, purpose: str, *keys: int) -> np.ndarray:
  """An int32 [2] seed for `tf.random.stateless_*`, of the same arguments as `generator`."""
  return np.frombuffer(_digest(seed, purpose, keys)[:8], '<i4').astype(np.int32)


def key(seed: int, purpose: str, *keys: int) -> int:
  """64 bits for `orders`, of the same arguments as `generator`."""
  return int.from_bytes(_digest(seed, purpose, keys)[:8], 'little')


def orders(keys: Sequence[int], sizes: Sequence[int] | np.ndarray) -> list[np.ndarray]:
  """A random order of 0..n-1 for each key and its n: int64 [n].

  As good as a shuffle by a generator of each key's own, but drawn for all keys at once: a generator
  costs as much as shuffling hundreds of examples. Each place gets the next number of the SplitMix64
  generator that starts at the key (Steele, Lea, Flood 2014, "Fast Splittable Pseudorandom Number
  Generators", figure 14), and places are ordered by their numbers.
  """
  if not len(keys):
    return []
  ends = np.cumsum(sizes)
  starts = ends - sizes
  place = np.arange(ends[-1]) - np.repeat(starts, sizes)
  state = np.repeat(np.array(keys, np.uint64), sizes) + place.astype(np.uint64) * _GOLDEN
  numbers = _mix(state + _GOLDEN)
  return [numbers[start:end].argsort() for start, end in zip(starts, ends)]


def _mix(state: np.ndarray) -> np.ndarray:
  """SplitMix64's output for these states."""
  state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return state ^ (state >> np.uint64(31))

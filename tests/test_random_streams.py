"""Draws are functions of (seed, purpose, keys), and of nothing else."""

import collections
import itertools

import numpy as np
import pytest

from fl_research import random_streams

GOLDEN_DRAWS = [724, 657, 264, 534]
GOLDEN_SEED = [-805544022, -1565880483]


def test_same_arguments_same_numbers_whatever_was_drawn_before():
  first = random_streams.generator(3, 'cohort', 7).random(5)
  random_streams.generator(3, 'cohort', 8).random(100)
  np.testing.assert_array_equal(random_streams.generator(3, 'cohort', 7).random(5), first)


def test_every_argument_counts():
  arguments = [(3, 'a', 7, 1), (4, 'a', 7, 1), (3, 'b', 7, 1), (3, 'a', 8, 1), (3, 'a', 7, 2)]
  draws = [random_streams.generator(*each).random(4).tolist() for each in arguments]
  draws.append(random_streams.generator(3, 'a', 7).random(4).tolist())
  assert all(one != other for one, other in itertools.combinations(draws, 2))


def test_neighbours_share_nothing():
  neighbours = [
    (1, 'a'),
    (1, 'a', 0),
    (1, 'a', 0, 0),
    (1, 'a', 7),
    (1, 'a', 7, 0),
    (1, 'a', 0, 7),
    (1, 'a', 2**32),
    (1, 'a', 1, 0),
    (2**32 + 1, 'a'),
    (2**32, 'a', 1),
    (0, 'a', 1),
    (1, "a', 7"),
    (1, 'a 7'),
    # Purposes with the same CRC-32.
    (1, 'plumless'),
    (1, 'buckeroo'),
  ]
  draws = [random_streams.generator(*each).random(4).tolist() for each in neighbours]
  seeds = [random_streams.stateless_seed(*each).tolist() for each in neighbours]
  keys = [random_streams.key(*each) for each in neighbours]
  for found in (draws, seeds, keys):
    assert all(one != other for one, other in itertools.combinations(found, 2))


def _splitmix(seed, place):
  """What the generator that starts at a seed gives at a place, in Python's own integers."""
  word = 2**64 - 1
  z = (seed + (place + 1) * 0x9E3779B97F4A7C15) & word
  z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & word
  z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & word
  return z ^ (z >> 31)


def test_orders_are_splitmix64s():
  # Its first outputs, as published.
  numbers = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
  assert [_splitmix(1234567, place) for place in range(4)] == numbers
  with np.errstate(over='ignore'):
    states = np.uint64(1234567) + np.arange(1, 5, dtype=np.uint64) * random_streams._GOLDEN
  # Their lowest bits too, which an order hardly shows.
  assert random_streams._mix(states).tolist() == numbers
  [order] = random_streams.orders([1234567], [500])
  assert order.tolist() == np.argsort([_splitmix(1234567, p) for p in range(500)]).tolist()


def test_orders_are_each_keys_own_and_all_are_as_likely():
  keys = [random_streams.key(0, 'orders', k) for k in range(6000)]
  sizes = np.where(np.arange(6000) % 2, 3, 0)
  found = random_streams.orders(keys, sizes)
  assert [len(order) for order in found] == sizes.tolist()
  for k in (1, 4321):
    assert found[k].tolist() == random_streams.orders([keys[k]], [3])[0].tolist()
  counts = collections.Counter(tuple(order) for order in found[1::2])
  assert len(counts) == 6
  # Chi-squared with 5 degrees of freedom is above 20.5 once in a thousand.
  assert sum((count - 500) ** 2 / 500 for count in counts.values()) < 20.5
  assert random_streams.orders([], []) == []


def test_numbers_stay_what_they_are():
  # With these numbers the results of all runs change, and `VERSION` goes up.
  assert random_streams.VERSION == 2
  np.testing.assert_array_equal(
    random_streams.generator(1, 'cohort', 1).integers(0, 1000, 4), GOLDEN_DRAWS
  )
  np.testing.assert_array_equal(random_streams.stateless_seed(1, 'client', 1, 2), GOLDEN_SEED)


def test_stateless_seeds():
  seed = random_streams.stateless_seed(1, 'client', 1, 2)
  assert seed.dtype == np.int32 and seed.shape == (2,)
  assert seed.tolist() != random_streams.stateless_seed(1, 'client', 2, 1).tolist()


def test_large_seeds():
  assert random_streams.generator(2**70, 'a').random() != random_streams.generator(1, 'a').random()


def test_the_systems_generator_draws_as_numpys_and_never_the_same():
  system = random_streams.SystemGenerator()
  numbers = system.random(1000)
  assert numbers.shape == (1000,)
  assert np.all((numbers >= 0) & (numbers < 1)) and abs(numbers.mean() - 0.5) < 0.06
  assert np.any(numbers != system.random(1000))
  chosen = system.choice(40, 40, replace=False, shuffle=False)
  assert sorted(chosen) == list(range(40))
  with pytest.raises(ValueError, match='different'):
    system.choice(40, 2)

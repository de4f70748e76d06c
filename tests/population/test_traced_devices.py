"""The virtual clock of measured phones: its formula, its draws, and what it reduces to."""

import numpy as np
import pytest

from fl_research import random_streams
from fl_research.datasets.device_traces import Phones
from fl_research.population.devices import Devices
from fl_research.population.traced_devices import TracedDevices

SCORES = np.array([100.0, 400.0, 200.0])
SPEEDS = np.array([[[2000.0, 1000.0], [500.0, 500.0]], [[8000.0, 100.0], [4000.0, 2000.0]]])
CLIENTS = np.arange(6)


def clock(scores=SCORES, speeds=SPEEDS, seed=7):
  return TracedDevices(0.5, Phones(scores, speeds, {}), seed)


def test_the_formula():
  examples, down, up, event = np.arange(6) * 10.0, 3000, np.arange(6) + 1000.0, 9
  expected = []
  for client in CLIENTS:
    score = SCORES[random_streams.key(7, 'phone', client) % 3]
    user = SPEEDS[random_streams.key(7, 'network user', client) % 2]
    z = random_streams.generator(7, 'transfer', client, event).normal(size=2)
    seconds = 0.5 * examples[client] * 200 / score
    for (mean, sigma), size, draw in zip(user, (down, up[client]), z):
      variance = np.log(1 + sigma**2 / mean**2)
      seconds += size / (mean * np.exp(np.sqrt(variance) * draw - variance / 2))
    expected.append(seconds)
  np.testing.assert_allclose(clock().seconds(CLIENTS, examples, down, up, event), expected)


def test_every_phone_and_every_user_is_met():
  many = np.arange(3000)
  slowness = clock().slowness(many)
  shares = [np.mean(slowness == 200 / score) for score in SCORES]
  np.testing.assert_allclose(shares, 1 / 3, atol=0.04)
  users = clock(speeds=np.array([[[1.0, 0.0]] * 2, [[3.0, 0.0]] * 2])).speeds(many, 0)
  assert set(map(tuple, users)) == {(1.0, 1.0), (3.0, 3.0)}
  assert 0.46 < np.mean(users[:, 0] == 3.0) < 0.54
  # A fast phone says nothing about its owner's connection.
  assert abs(np.corrcoef(slowness, users[:, 0])[0, 1]) < 0.06


def test_speeds_have_the_measured_mean_and_deviation():
  speeds = clock(speeds=SPEEDS[:1]).speeds(np.zeros(8000, int), np.arange(8000))
  np.testing.assert_allclose(speeds.mean(axis=0), [2000, 500], rtol=0.03)
  np.testing.assert_allclose(speeds.std(axis=0), [1000, 500], rtol=0.1)
  assert speeds.min() > 0 and abs(np.corrcoef(speeds.T)[0, 1]) < 0.05


def test_draws_depend_on_seed_client_and_event_only():
  one = clock().seconds(CLIENTS, np.ones(6), 1000, 1000, 4)
  np.testing.assert_array_equal(clock().seconds(CLIENTS[3:], np.ones(3), 1000, 1000, 4), one[3:])
  by_client = clock().seconds(CLIENTS, np.ones(6), 1000, 1000, np.array([4, 5, 4, 4, 4, 4]))
  assert (by_client == one).tolist() == [True, False, True, True, True, True]
  first = clock().seconds(CLIENTS, np.ones(6), 1000, 1000, 0)
  np.testing.assert_array_equal(clock().seconds(CLIENTS, np.ones(6), 1000, 1000), first)
  assert not np.any(clock(seed=8).seconds(CLIENTS, np.ones(6), 1000, 1000, 4) == one)
  np.testing.assert_array_equal(clock().slowness(CLIENTS), clock().slowness(CLIENTS))


@pytest.mark.parametrize('event', [0, 17])
def test_equal_phones_with_steady_connections_are_the_model_without_spread(event):
  equal = clock(np.full(4, 321.0), np.array([[[750e3, 0.0], [250e3, 0.0]]]))
  examples, up = np.array([3, 7, 0, 123, 11, 1]), np.array([5, 1e6, 0, 77, 3, 12345])
  np.testing.assert_array_equal(
    equal.seconds(CLIENTS, examples, 1234567, up, event),
    Devices(0.5, 750e3, 250e3, 0.0, seed=7).seconds(CLIENTS, examples, 1234567, up, event),
  )

"""What makes FLUTE's accuracy lower than ours: its clients and its model, on made-up images."""

import numpy as np
import pytest

from baselines.flute_speed import what_if


@pytest.fixture
def labels(monkeypatch):
  """70,000 labels, whose images are their one-hot codes."""
  y = np.random.default_rng(0).integers(10, size=70_000)
  x = np.hstack([np.eye(10)[y], np.ones((len(y), 1))]).astype(np.float32)
  monkeypatch.setattr(what_if, '_images', lambda data_dir, standardised: (x, y))
  return y


@pytest.mark.parametrize('unequal', [False, True])
def test_every_client_has_two_digits(labels, unequal):
  split = (what_if._unequal_clients if unequal else what_if._equal_clients)(labels, 1)
  used = np.concatenate([*split.clients, split.test])
  assert len(set(used)) == len(used)
  assert len(split.clients) == 1000
  assert all(len(set(labels[rows])) == 2 for rows in split.clients)
  sizes = np.array([len(rows) for rows in split.clients])
  if unequal:
    assert sizes.min() >= 9
    assert np.median(sizes) < sizes.mean() / 1.5
  else:
    assert sizes.max() - sizes.min() <= 40


def test_draws_until_clients_are_equal_enough(labels):
  spreads = []
  for widest in (np.inf, 140):
    clients, test = what_if._unequal_clients(labels, 2, widest)
    spreads.append(np.std([len(rows) / 0.9 for rows in clients]))
    assert len(test) < len(labels) / 8
  assert spreads[1] < 141 < spreads[0]


@pytest.mark.parametrize('unequal', [False, True])
def test_learns_what_is_easy(labels, unequal):
  assert what_if.accuracy(unequal, False, False, seed=1) > 0.9


def test_sigmoid_slows_learning(labels):
  weights = np.zeros((11, 10), np.float32)
  x, y = what_if._images('', False)
  plain, squashed = (what_if._train(weights, x[:10], y[:10], flag) for flag in (False, True))
  # The slope of a sigmoid at 0 is a quarter, and equal scores are equal shares in both.
  np.testing.assert_allclose(squashed, plain / 4, rtol=1e-5)

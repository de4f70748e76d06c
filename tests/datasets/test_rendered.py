"""Clients that see the same things differently: each rendering, by hand."""

import numpy as np
import pytest

from fl_research.datasets import rendered


def _seen(name, x, seed=0):
  return rendered.RENDERINGS[name](np.array(x, np.float32), np.random.default_rng(seed))


@pytest.fixture
def pictures():
  """Two pictures of 6 x 6 pixels, whose numbers go from 1 to 3, and from 0 to 0.5."""
  x = np.random.default_rng(1).uniform(size=(2, 6, 6, 1))
  x = (x - x.min(axis=(1, 2), keepdims=True)) / np.ptp(x, axis=(1, 2), keepdims=True)
  return np.float32([1, 0]).reshape(2, 1, 1, 1) + np.float32([2, 0.5]).reshape(2, 1, 1, 1) * x


def test_inverted_and_faint_are_by_the_ends_of_each_picture(pictures):
  inverted, faint = _seen('inverted', pictures), _seen('faint', pictures)
  np.testing.assert_allclose(inverted[0], 4 - pictures[0], rtol=1e-6)
  np.testing.assert_allclose(inverted[1], 0.5 - pictures[1], atol=1e-6)
  np.testing.assert_allclose(faint[0], 1 + (pictures[0] - 1) / 4, rtol=1e-6)
  np.testing.assert_allclose(faint[1], pictures[1] / 4, atol=1e-6)


def test_blurred_is_the_mean_of_25_pixels_of_one_picture(pictures):
  blurred = _seen('blurred', pictures)
  np.testing.assert_allclose(blurred[1, 2, 3, 0], pictures[1, 0:5, 1:6, 0].mean(), rtol=1e-5)
  edge = np.pad(pictures[0, :, :, 0], 2, mode='edge')
  np.testing.assert_allclose(blurred[0, 0, 0, 0], edge[0:5, 0:5].mean(), rtol=1e-5)


def test_noise_is_in_proportion_to_the_range_and_of_the_generator(pictures):
  many = np.repeat(pictures, 200, axis=0)
  noise = _seen('noisy', many) - many
  np.testing.assert_allclose([noise[:200].std(), noise[200:].std()], [0.6, 0.15], rtol=0.05)
  np.testing.assert_array_equal(_seen('noisy', many, 0), _seen('noisy', many, 0))
  assert np.any(_seen('noisy', many, 0) != _seen('noisy', many, 1))


@pytest.mark.parametrize('name', rendered.RENDERINGS)
def test_renderings_stay_pictures_of_float32(name, pictures):
  seen = _seen(name, pictures)
  assert seen.shape == pictures.shape and seen.dtype == np.float32


def test_turns_are_those_of_equal_angles():
  assert rendered.turns(1) == ['plain'] and rendered.turns(2) == ['plain', 'turned_180']
  assert rendered.turns(4) == ['plain', 'turned_90', 'turned_180', 'turned_270']


@pytest.mark.parametrize('text, valid', [('', True), ('plain, noisy', True), ('plain,', False)])
def test_names_are_checked(text, valid):
  assert rendered.is_valid(text) is valid

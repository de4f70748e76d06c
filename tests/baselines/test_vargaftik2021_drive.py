"""Errors of estimates of a mean, where theory or arithmetic gives them."""

import math

import numpy as np
import pytest

from baselines.vargaftik2021_drive import estimation


def test_uniformly_rotated_signs_have_the_error_of_the_theorem():
  # With the unbiased scale E‖x̂ - x‖² / ‖x‖² = E[d / ‖u‖₁²] - 1, u uniform on the sphere.
  d = 64
  u = np.random.default_rng(0).normal(size=(200_000, d))
  u /= np.linalg.norm(u, axis=1, keepdims=True)
  one_client = np.mean(d / np.sum(np.abs(u), axis=1) ** 2) - 1
  assert estimation.uniformly_rotated(d, trials=200, seed=1) == pytest.approx(
    one_client / 10, rel=0.03
  )
  assert one_client == pytest.approx(math.pi / 2 - 1, rel=0.05)


def test_many_bits_lose_nothing():
  assert estimation.compressed('rotation,quantize:16', 128, trials=2, seed=1) < 1e-8


def test_seeds_draw_other_vectors():
  first, again, other = (estimation.compressed('drive', 128, 1, seed) for seed in (1, 1, 2))
  assert first == again != other


def test_the_advantage_is_the_ratio_of_errors():
  errors = [estimation.compressed(name, 128, 2, 3) for name in ('rotation,quantize:1', 'drive')]
  ratio = estimation.advantage('rotation,quantize:1', 'drive', 128, 2, 3)
  assert ratio == pytest.approx(errors[0] / errors[1])

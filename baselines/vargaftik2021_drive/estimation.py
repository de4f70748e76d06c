"""The error of one-bit estimates of a mean.

Vargaftik, Ben-Basat, Portnoy, Mendelson, Ben-Itzhak, Mitzenmacher 2021, "DRIVE: One-bit Distributed
Mean Estimation", table 1: n = 10 clients send the same vector, of d numbers drawn from
Lognormal(0, 1), in about a bit per number, each with a rotation of its own. The error is that of
the mean of what the server decodes,

    NMSE = ‖mean - x‖² / ‖x‖²,

averaged over vectors.
"""

from collections.abc import Callable

import numpy as np
from scipy import stats
import tensorflow as tf

from fl_research import random_streams
from fl_research.aggregation import compression
from fl_research.aggregation.compression import chain

_CLIENTS = 10


def compressed(compressor: str, dimension: int, trials: int, seed: int) -> float:
  """The NMSE of a compressor of the library.

  Args:
    compressor: as for `--compressor`: `rotation,quantize:1` is the paper's Hadamard + 1-bit SQ,
      `drive` its DRIVE with the Hadamard rotation.
    dimension: d.
    trials: vectors that are drawn.
    seed: of everything that is random.
  """
  built = compression.build(chain.parse(compressor, {}))

  @tf.function(autograph=False)
  def decoded(vector, client_seed):
    return built.round_trip((vector,), client_seed)[0][0]

  def estimate(vector, *key):
    client_seed = random_streams.stateless_seed(seed, 'rotation', *key)
    return decoded(tf.constant(vector, tf.float32), client_seed).numpy()

  return _mean_error(estimate, dimension, trials, seed)


def uniformly_rotated(dimension: int, trials: int, seed: int) -> float:
  """The NMSE of DRIVE with uniformly random rotations, each of which costs d³.

  Args:
    dimension: d.
    trials: vectors that are drawn.
    seed: of everything that is random.
  """

  def estimate(vector, *key):
    generator = random_streams.generator(seed, 'rotation', *key)
    rotation = stats.ortho_group.rvs(dimension, random_state=generator)
    rotated = rotation @ vector
    scale = np.sum(rotated**2) / np.sum(np.abs(rotated))
    return rotation.T @ (scale * np.sign(rotated))

  return _mean_error(estimate, dimension, trials, seed)


def advantage(worse: str, better: str, dimension: int, trials: int, seed: int) -> float:
  """How many times the NMSE of one compressor is that of another, on the same vectors."""
  worse_error = compressed(worse, dimension, trials, seed)
  return worse_error / compressed(better, dimension, trials, seed)


def _mean_error(
  estimate: Callable[..., np.ndarray], dimension: int, trials: int, seed: int
) -> float:
  """The NMSE of what `estimate(vector, trial, client)` gives, over trials."""
  errors = []
  for trial in range(trials):
    vector = random_streams.generator(seed, 'vector', trial).lognormal(size=dimension)
    mean = np.mean([estimate(vector, trial, client) for client in range(_CLIENTS)], axis=0)
    errors.append(np.sum((mean - vector) ** 2) / np.sum(vector**2))
  return float(np.mean(errors))

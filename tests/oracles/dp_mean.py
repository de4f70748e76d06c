"""DP-FedAvg's mean (McMahan et al. 2018, algorithm 1) with adaptive clipping (Andrew et al. 2021,
algorithm 1) in NumPy. Noise is an argument, in units of its standard deviation.
"""

import math

import numpy as np


def clip(update, norm):
  """An update scaled to at most the norm, and whether it was below it."""
  length = math.sqrt(sum(float(np.sum(np.square(t, dtype=np.float64))) for t in update))
  return [np.asarray(t, np.float64) * min(1.0, norm / max(length, 1e-300)) for t in update], (
    length <= norm
  )


def mean(updates, norm, multiplier, expected, noise):
  """The noisy mean of clipped updates, and how many of them were not clipped."""
  clipped = [clip(update, norm) for update in updates]
  total = [
    sum((c[i] for c, _ in clipped), np.zeros_like(n, np.float64)) for i, n in enumerate(noise)
  ]
  noisy = [(t + multiplier * norm * n) / expected for t, n in zip(total, noise)]
  return noisy, sum(below for _, below in clipped)


def next_norm(norm, below, clients, expected, quantile, rate, count_noise, noise):
  """The clipping norm of the next round."""
  fraction = 0.5 + (below - 0.5 * clients + count_noise * noise) / expected
  return norm * math.exp(-rate * (fraction - quantile))


def dp_fed_avg(weights, rounds, train, norm, multiplier, expected, noise):
  """Global weights after every round; `train` gives a client's model delta."""
  history = []
  for cohort, one_noise in zip(rounds, noise, strict=True):
    updates = [train(weights, data) for data in cohort]
    step, _ = mean(updates, norm, multiplier, expected, one_noise)
    weights = [w + s for w, s in zip(weights, step)]
    history.append(weights)
  return history

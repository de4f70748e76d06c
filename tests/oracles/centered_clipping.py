"""Centred clipping (Karimireddy, He, Jaggi 2021, algorithm 2) in NumPy."""

import numpy as np


def rule(tau, iterations=1, remembers=True):
  """[n, d] updates to [d]; the paper has `remembers`; without, every round begins from zero."""
  memory = []

  def combine(updates, weights):
    del weights
    v = memory[-1] if memory and remembers else np.zeros(updates.shape[1])
    for _ in range(iterations):
      way = [(u - v) * min(1.0, tau / max(np.linalg.norm(u - v), 1e-300)) for u in updates]
      v = v + sum(way) / len(updates)
    memory.append(v)
    return v

  return combine

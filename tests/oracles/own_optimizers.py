"""Lion (Chen et al. 2023, algorithm 2) and LAMB (You et al. 2020, algorithm 2) in NumPy."""

import numpy as np


class Lion:
  """Lists of arrays in, lists of arrays out."""

  def __init__(self, rate, beta_1, momentum_decay, step_weight_decay):
    self._constants = rate, beta_1, momentum_decay, step_weight_decay
    self._momenta = None

  def step(self, weights, gradients):
    rate, beta_1, beta_2, decay = self._constants
    momenta = self._momenta or [np.zeros_like(w) for w in weights]
    pairs = list(zip(weights, gradients, momenta))
    moved = [w - rate * (np.sign(beta_1 * m + (1 - beta_1) * g) + decay * w) for w, g, m in pairs]
    self._momenta = [beta_2 * m + (1 - beta_2) * g for _, g, m in pairs]
    return moved


class Lamb:
  """Lists of arrays in, lists of arrays out."""

  def __init__(self, rate, beta_1, beta_2, epsilon, step_weight_decay):
    self._constants = rate, beta_1, beta_2, epsilon, step_weight_decay
    self._moments, self._count = None, 0

  def step(self, weights, gradients):
    rate, beta_1, beta_2, epsilon, decay = self._constants
    self._count += 1
    before = self._moments or [(np.zeros_like(w), np.zeros_like(w)) for w in weights]
    self._moments, moved = [], []
    for w, g, (m, v) in zip(weights, gradients, before):
      m, v = beta_1 * m + (1 - beta_1) * g, beta_2 * v + (1 - beta_2) * g**2
      self._moments.append((m, v))
      mean, square = m / (1 - beta_1**self._count), v / (1 - beta_2**self._count)
      r = mean / (np.sqrt(square) + epsilon) + decay * w
      norms = np.linalg.norm(w), np.linalg.norm(r)
      moved.append(w - rate * (norms[0] / norms[1] if all(norms) else 1.0) * r)
    return moved


TWINS = {'lion': Lion, 'lamb': Lamb}

"""MimeLite (Karimireddy et al. 2021, algorithm 1) in NumPy; all averages are uniform."""

import numpy as np

from tests.oracles import flat

BETA_1, BETA_2, EPSILON, START = 0.8, 0.9, 0.05, 0.3


def move(base, g, m, v):
  """U of the paper's table."""
  if base == 'sgd':
    return g
  if base == 'momentum':
    return (1 - BETA_1) * g + BETA_1 * m
  if base == 'adam':
    return ((1 - BETA_1) * g + BETA_1 * m) / (EPSILON + np.sqrt(v))
  return g / (EPSILON + np.sqrt(v))


def track(base, g, m, v):
  """V of the paper's table: m and v, of which a base looks at its own."""
  grown = v + g**2 if base == 'adagrad' else (1 - BETA_2) * g**2 + BETA_2 * v
  return (1 - BETA_1) * g + BETA_1 * m, grown


def run(weights, rounds, rate, base):
  """Global weights after every round."""
  x = flat.join(weights)
  m, v = np.zeros_like(x), np.full_like(x, START)
  history = []
  for cohort in rounds:
    direction = lambda g, _, m=m, v=v: move(base, g, m, v)
    moved = [flat.descend(x, data, rate, direction)[0] for data in cohort]
    m, v = track(base, np.mean([flat.full_gradient(x, data) for data in cohort], axis=0), m, v)
    x = np.mean(moved, axis=0)
    history.append(flat.split(x))
  return history

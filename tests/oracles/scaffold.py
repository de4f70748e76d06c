"""SCAFFOLD (Karimireddy et al. 2020, algorithm 1) in NumPy."""

import numpy as np

from tests.oracles import flat


def run(weights, rounds, rate, option, population, server_rate=1.0):
  """Global weights after every round, and the last c; all averages are uniform."""
  x = flat.join(weights)
  c, own = np.zeros_like(x), {}
  history = []
  for cohort in rounds:
    way, change = [], []
    for data in cohort:
      old = own.get(int(data['client']), np.zeros_like(x))
      y, steps = flat.descend(x, data, rate, lambda g, w, old=old: g - old + c)  # noqa: B023
      new = flat.full_gradient(x, data) if option == 'I' else old - c + (x - y) / (steps * rate)
      own[int(data['client'])] = new
      way.append(y - x)
      change.append(new - old)
    x = x + server_rate * np.mean(way, axis=0)
    c = c + len(cohort) / population * np.mean(change, axis=0)
    history.append(flat.split(x))
  return history, flat.split(c)

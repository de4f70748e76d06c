"""FedGAMMA (Dai et al. 2023, algorithm 1) in NumPy."""

import numpy as np

from tests.oracles import fed_sam, flat


def run(weights, rounds, rate, rho, population):
  """Global weights after every round; all averages are uniform."""
  x = flat.join(weights)
  c, own, history = np.zeros_like(x), {}, []
  for cohort in rounds:
    way, change = [], []
    for data in cohort:
      old = own.get(int(data['client']), np.zeros_like(x))
      corrected = lambda g, w, old=old, c=c: g - old + c
      y, steps = fed_sam.descend(rho, None, x, data, rate, corrected)
      new = old - c + (x - y) / (steps * rate)
      own[int(data['client'])] = new
      way.append(y - x)
      change.append(new - old)
    x = x + np.mean(way, axis=0)
    c = c + len(cohort) / population * np.mean(change, axis=0)
    history.append(flat.split(x))
  return history

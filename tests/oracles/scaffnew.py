"""Scaffnew (Mishchenko et al. 2022, algorithm 2) in NumPy, meeting after each round's steps."""

import numpy as np

from tests.oracles import flat


def run(weights, rounds, rate):
  """Global weights after every round, and every client's variate after the last."""
  x = flat.join(weights)
  variates = {int(data['client']): np.zeros_like(x) for data in rounds[0]}
  history = []
  for cohort in rounds:
    found = {}
    for data in cohort:
      h = variates[int(data['client'])]
      found[int(data['client'])] = flat.descend(x, data, rate, lambda g, _, h=h: g - h)
    x = np.mean([model for model, _ in found.values()], axis=0)
    for k, (model, steps) in found.items():
      variates[k] = variates[k] + (x - model) / (rate * steps)
    history.append(flat.split(x))
  return history, variates

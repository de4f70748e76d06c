"""FedSAM (Qu et al. 2022) and FedASAM (Caldarola et al. 2022) in NumPy."""

import functools

import numpy as np

from tests.oracles import flat, softmax_regression


def descend(rho, nu, vector, data, rate, direction=lambda g, w: g):
  """`flat.descend` with the gradient at the worst point nearby; `nu` None for SAM."""
  steps = 0
  for x, y in softmax_regression.batches(data):
    size = np.ones_like(vector) if nu is None else np.abs(vector) + nu
    ascent = size * flat.gradient(vector, x, y)
    worst = vector + rho * size * ascent / np.sqrt(ascent @ ascent)
    vector = vector - rate * direction(flat.gradient(worst, x, y), vector)
    steps += 1
  return vector, steps


def run(weights, rounds, rate, rho, nu=None):
  """Global weights after every round."""
  w, history = flat.join(weights), []
  local = functools.partial(descend, rho, nu)
  for cohort in rounds:
    trained = [local(w, data, rate)[0] for data in cohort]
    w = flat.shares(cohort) @ np.array(trained)
    history.append(flat.split(w))
  return history

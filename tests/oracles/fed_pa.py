"""FedPA (Al-Shedivat et al. 2021, algorithms 3 and 4 and appendix C) in NumPy."""

import numpy as np

from tests.oracles import flat, softmax_regression


def delta(samples, start, rho):
  """Σ̂⁻¹ (μ̂ - w) with the covariance written out."""
  samples = np.asarray(samples)
  number, dimension = samples.shape
  shrunk = 1 / (1 + (number - 1) * rho)
  covariance = shrunk * np.eye(dimension)
  if number > 1:
    covariance += (1 - shrunk) * np.cov(samples, rowvar=False)
  return np.linalg.solve(covariance, samples.mean(axis=0) - start)


def client(start, data, rate, number, burn_in, rho):
  """What one client sends."""
  w, iterates = start, []
  for x, y in softmax_regression.batches(data):
    w = w - rate * flat.gradient(w, x, y)
    iterates.append(w)
  after = iterates[int(np.round(burn_in * len(iterates))) :]
  if not after:
    return w - start
  parts = [[] for _ in range(number)]
  for place, each in enumerate(after):
    parts[place * number // len(after)].append(each)
  return delta([np.mean(part, axis=0) for part in parts if part], start, rho)


def run(weights, rounds, rate, number, burn_in, rho, burn_in_rounds=0):
  """Global weights after every round."""
  w, history = flat.join(weights), []
  for round_num, cohort in enumerate(rounds):
    share = 1.0 if round_num < burn_in_rounds else burn_in
    sent = [client(w, data, rate, number, share, rho) for data in cohort]
    w = w + flat.shares(cohort) @ np.array(sent)
    history.append(flat.split(w))
  return history

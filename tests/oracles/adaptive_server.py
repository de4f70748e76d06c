"""FedAdagrad, FedAdam and FedYogi (Reddi et al. 2021, algorithm 2) in NumPy."""

import numpy as np

from tests.oracles import flat

RULES = {
  'fedadagrad': lambda v, d, beta_2: v + d**2,
  'fedadam': lambda v, d, beta_2: beta_2 * v + (1 - beta_2) * d**2,
  'fedyogi': lambda v, d, beta_2: v - (1 - beta_2) * d**2 * np.sign(v - d**2),
}


def run(name, weights, rounds, client_rate, server_rate, *, beta_1, tau, start, beta_2=0.0):
  """Global weights after every round; `start` is v_{-1}."""
  w = flat.join(weights)
  m, v = np.zeros_like(w), np.full_like(w, start)
  history = []
  for cohort in rounds:
    delta = flat.mean_delta(w, cohort, client_rate)
    m = beta_1 * m + (1 - beta_1) * delta
    v = RULES[name](v, delta, beta_2)
    w = w + server_rate * m / (np.sqrt(v) + tau)
    history.append(flat.split(w))
  return history

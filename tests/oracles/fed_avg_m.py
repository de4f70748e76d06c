"""FedAvgM (Hsu et al. 2019) in NumPy."""

import numpy as np

from tests.oracles import flat


def run(weights, rounds, client_rate, server_rate, momentum, nesterov):
  """Global weights after every round."""
  w = flat.join(weights)
  v = np.zeros_like(w)
  history = []
  for cohort in rounds:
    delta = flat.mean_delta(w, cohort, client_rate)
    v = momentum * v + delta
    w = w + server_rate * (delta + momentum * v if nesterov else v)
    history.append(flat.split(w))
  return history

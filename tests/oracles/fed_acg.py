"""FedACG (Kim et al. 2024, algorithm 1, the server's step times a rate) in NumPy."""

import numpy as np

from tests.oracles import flat


def run(weights, rounds, rate, momentum, beta, server_rate=1.0):
  """Global weights after every round; the mean is uniform."""
  w = flat.join(weights)
  m, history = np.zeros_like(w), []
  for cohort in rounds:
    ahead = w + momentum * m
    pull = lambda g, v, ahead=ahead: g + beta * (v - ahead)
    delta = np.mean([flat.descend(ahead, data, rate, pull)[0] - ahead for data in cohort], axis=0)
    m = momentum * m + delta
    w = w + server_rate * m
    history.append(flat.split(w))
  return history

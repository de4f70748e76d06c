"""pFedMe (Dinh et al. 2020, algorithm 1) in NumPy, the minimiser approached by K steps."""

import numpy as np

from tests.oracles import flat, softmax_regression


def run(weights, rounds, rate, regularization, steps, personal_rate, server_rate=1.0):
  """Global weights after every round, and every client's own at the end; averages are uniform."""
  w = flat.join(weights)
  personal, history = {}, []
  for cohort in rounds:
    local = []
    for data in cohort:
      own = theta = w
      for x, y in softmax_regression.batches(data):
        for _ in range(steps):
          pull = regularization * (theta - own)
          theta = theta - personal_rate * (flat.gradient(theta, x, y) + pull)
        own = own - rate * regularization * (own - theta)
      personal[int(data['client'])] = theta
      local.append(own)
    w = (1 - server_rate) * w + server_rate * np.mean(local, axis=0)
    history.append(flat.split(w))
  return history, {k: flat.split(theta) for k, theta in personal.items()}

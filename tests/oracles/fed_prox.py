"""FedProx (Li et al. 2020, algorithm 2, averaged by examples) in NumPy."""

import numpy as np

from tests.oracles import flat


def run(weights, rounds, rate, mu):
  """Global weights after every round."""
  w = flat.join(weights)
  history = []
  for cohort in rounds:
    centre = w
    proximal = lambda g, v, centre=centre: g + mu * (v - centre)
    trained = [flat.descend(centre, data, rate, proximal)[0] for data in cohort]
    w = flat.shares(cohort) @ np.array(trained)
    history.append(flat.split(w))
  return history

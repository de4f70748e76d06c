"""FedPD (Zhang et al. 2021, algorithm 1) in NumPy, every solve by SGD over the round's batches."""

import numpy as np

from tests.oracles import flat


def run(weights, rounds, rate, eta, solves, own_start=True):
  """Global weights after every round, and every client's dual after the last."""
  x0 = flat.join(weights)
  models = {int(data['client']): x0 for data in rounds[0]}
  duals = {k: np.zeros_like(x0) for k in models}
  history = []
  for cohort in rounds:
    copies = []
    for data in cohort:
      k, z = int(data['client']), x0
      for _ in range(solves):
        gradient = lambda g, w, dual=duals[k], z=z: g + dual + (w - z) / eta
        models[k], _ = flat.descend(models[k] if own_start else z, data, rate, gradient)
        duals[k] = duals[k] + (models[k] - z) / eta
        z = models[k] + eta * duals[k]
      copies.append(z)
    x0 = np.mean(copies, axis=0)
    history.append(flat.split(x0))
  return history, duals

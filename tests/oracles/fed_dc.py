"""FedDC (Gao et al. 2022, as its authors' code has it) in NumPy; all clients weigh the same."""

import numpy as np

from tests.oracles import flat


def run(weights, rounds, rate, alpha, population):
  """Global weights after every round."""
  w = flat.join(weights)
  drifts, variates = (np.zeros((population, len(w))) for _ in range(2))
  common, history = np.zeros_like(w), []
  for cohort in rounds:
    before, models = variates.copy(), []
    for data in cohort:
      k = int(data['client'])
      pull = lambda g, v, k=k, w=w, c=common: (
        g + alpha * (v - (w - drifts[k])) + c - before[k]  # noqa: B023
      )
      model, steps = flat.descend(w, data, rate, pull)
      variates[k] = before[k] - common - (model - w) / (steps * rate)
      drifts[k] += model - w
      models.append(model)
    common = common + np.sum(variates - before, axis=0) / population
    w = np.mean(models, axis=0) + np.mean(drifts, axis=0)
    history.append(flat.split(w))
  return history

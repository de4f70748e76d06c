"""FedDyn (Acar et al. 2021, algorithm 1) in NumPy, the clients' minimisation by SGD."""

import numpy as np

from tests.oracles import flat


def run(weights, rounds, rate, alpha, population):
  """Global weights after every round."""
  theta = flat.join(weights)
  h, gradients = np.zeros_like(theta), {}
  history = []
  for cohort in rounds:
    models = []
    for data in cohort:
      k, centre = int(data['client']), theta
      last = gradients.get(k, np.zeros_like(theta))
      regularised = lambda g, w, last=last, c=centre: g - last + alpha * (w - c)
      model, _ = flat.descend(centre, data, rate, regularised)
      gradients[k] = last - alpha * (model - centre)
      models.append(model)
    h = h - alpha / population * np.sum(np.array(models) - theta, axis=0)
    theta = np.mean(models, axis=0) - h / alpha
    history.append(flat.split(theta))
  return history

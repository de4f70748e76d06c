"""FedAMP and HeurFedAMP (Huang et al. 2021, algorithm 1) in NumPy."""

import numpy as np

from tests.oracles import flat


def mixture(models, client, sigma, own_share=None):
  """u_i; by directions where a share of the own model is given."""
  own, count = models[client], len(models)
  others = [j for j in range(count) if j != client]
  if own_share is None:
    shares = [np.exp(-np.sum((own - models[j]) ** 2) / sigma) / count for j in others]
  else:
    cosine = lambda a, b: a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    powers = np.exp([sigma * cosine(own, models[j]) for j in others])
    shares = (1 - own_share) * powers / powers.sum()
  mixed = (1 - sum(shares)) * own
  for share, j in zip(shares, others):
    mixed = mixed + share * models[j]
  return mixed


def run(initial, rounds, rate, regularization, sigma, own_share=None, population=3):
  """All clients' models after every round, [population, weights]."""
  models, history = [flat.join(initial)] * population, []
  for cohort in rounds:
    given = {int(d['client']): mixture(models, int(d['client']), sigma, own_share) for d in cohort}
    models = list(models)
    for data in cohort:
      k = int(data['client'])
      direction = lambda g, w, u=given[k]: g + regularization * (w - u)
      models[k], _ = flat.descend(models[k], data, rate, direction)
    history.append(np.array(models))
  return history

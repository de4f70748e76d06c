"""FedFomo (Zhang et al. 2021) in NumPy, with all others' models sent to everybody."""

import numpy as np

from tests.oracles import flat


def apart(data, every):
  """Which rows a client sets apart."""
  steps = -(-int(data['num_examples']) // data['batches'].shape[1])
  rows = sorted(row for row in data['batches'][:steps].ravel() if row >= 0)
  return rows[every - 1 :: every]


def loss(vector, x, y):
  """The mean cross-entropy; 0 of no example."""
  if not len(y):
    return 0.0
  kernel, bias = flat.split(vector)
  logits = x @ kernel + bias
  return np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y])


def _training(data, left_out):
  for row in data['batches']:
    rows = [r for r in row if r >= 0 and r not in left_out]
    if rows:
      yield data['examples']['x'][rows], data['examples']['y'][rows]


def run(initial, rounds, rate, every, population=3):
  """All clients' models after every round, [population, weights]; P at the end."""
  models, preferences, history = [flat.join(initial)] * population, np.zeros([population] * 2), []
  for cohort in rounds:
    trained = {}
    for data in cohort:
      k, held = int(data['client']), apart(data, every)
      x, y = data['examples']['x'][held], data['examples']['y'][held]
      own, weights = models[k], np.zeros(population)
      for n in range(population):
        length = np.linalg.norm(models[n] - own)
        if length:
          weights[n] = max(0.0, (loss(own, x, y) - loss(models[n], x, y)) / length)
      preferences[k] += weights
      if weights.sum():
        moves = [weights[n] / weights.sum() * (models[n] - own) for n in range(population)]
        own = own + sum(moves)
      for x, y in _training(data, held):
        own = own - rate * flat.gradient(own, x, y)
      trained[k] = own
    models = [trained.get(k, models[k]) for k in range(population)]
    history.append(np.array(models))
  return history, preferences

"""Per-FedAvg (Fallah et al. 2020, algorithm 1, FO and HF) in NumPy; averages are uniform."""

import numpy as np

from tests.oracles import flat, softmax_regression


def run(weights, rounds, rate, alpha, delta=None):
  """Global weights after every round; HF where there is a delta."""
  w, history = flat.join(weights), []
  for cohort in rounds:
    w = np.mean([_descend(w, data, rate, alpha, delta) for data in cohort], axis=0)
    history.append(flat.split(w))
  return history


def _descend(w, data, rate, alpha, delta):
  batches = list(softmax_regression.batches(data))
  for number in range(len(batches)):
    one, two, three = (batches[(number + k) % len(batches)] for k in range(3))
    direction = flat.gradient(w - alpha * flat.gradient(w, *one), *two)
    if delta is not None:
      ahead = flat.gradient(w + delta * direction, *three)
      behind = flat.gradient(w - delta * direction, *three)
      direction = direction - alpha * (ahead - behind) / (2 * delta)
    w = w - rate * direction
  return w

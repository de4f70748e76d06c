"""FedLin (Mitra et al. 2021, algorithm 1, with minibatches) in NumPy."""

import numpy as np

from tests.oracles import flat, softmax_regression


def run(weights, rounds, rate, even):
  """Global weights after every round; all averages are uniform."""
  x, history = flat.join(weights), []
  for cohort in rounds:
    own = [flat.full_gradient(x, data) for data in cohort]
    g = np.mean(own, axis=0)
    moved = []
    for data, gradient in zip(cohort, own):
      batches = list(softmax_regression.batches(data))
      y, step = x, rate / len(batches) if even else rate
      for batch in batches:
        y = y - step * (flat.gradient(y, *batch) - gradient + g)
      moved.append(y)
    x = np.mean(moved, axis=0)
    history.append(flat.split(x))
  return history

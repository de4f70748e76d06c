"""Mime (Karimireddy et al. 2021, algorithm 1) in NumPy; all averages are uniform."""

import numpy as np

from tests.oracles import flat, mime_lite, softmax_regression


def run(weights, rounds, rate, base):
  """Global weights after every round."""
  x = flat.join(weights)
  m, v = np.zeros_like(x), np.full_like(x, mime_lite.START)
  history = []
  for cohort in rounds:
    c = np.mean([flat.full_gradient(x, data) for data in cohort], axis=0)
    moved = []
    for data in cohort:
      y = x
      for batch in softmax_regression.batches(data):
        corrected = flat.gradient(y, *batch) - flat.gradient(x, *batch) + c
        y = y - rate * mime_lite.move(base, corrected, m, v)
      moved.append(y)
    m, v = mime_lite.track(base, c, m, v)
    x = np.mean(moved, axis=0)
    history.append(flat.split(x))
  return history

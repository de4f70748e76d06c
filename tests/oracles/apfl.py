"""APFL (Deng et al. 2020, algorithm 1, and its adaptive share) in NumPy."""

import numpy as np

from tests.oracles import flat, softmax_regression


def run(weights, rounds, rate, alpha, adaptive):
  """Global weights after every round, and every client's own model and share at the end."""
  start = w = flat.join(weights)
  kept, history = {}, []
  for cohort in rounds:
    local = []
    for data in cohort:
      k = int(data['client'])
      v, a = kept.get(k, (start, alpha))
      theirs = w
      for number, (x, y) in enumerate(softmax_regression.batches(data)):
        mixed = flat.gradient(a * v + (1 - a) * theirs, x, y)
        slope = (v - theirs) @ mixed
        v = v - rate * a * mixed
        theirs = theirs - rate * flat.gradient(theirs, x, y)
        if adaptive and number == 0:
          a = np.clip(a - rate * slope, 0, 1)
      kept[k] = v, a
      local.append(theirs)
    w = flat.shares(cohort) @ np.array(local)
    history.append(flat.split(w))
  return history, {k: (flat.split(v), a) for k, (v, a) in kept.items()}

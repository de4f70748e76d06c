"""FedExP (Jhunjhunwala et al. 2023, algorithm 1) in NumPy; all averages are uniform."""

import numpy as np

from tests.oracles import flat


def run(weights, rounds, rate, epsilon):
  """Global weights after every round, and every round's server step."""
  w, steps, history = flat.join(weights), [], []
  for cohort in rounds:
    deltas = [w - flat.descend(w, data, rate)[0] for data in cohort]
    mean = np.mean(deltas, axis=0)
    squares = sum(d @ d for d in deltas)
    steps.append(max(1.0, squares / (2 * len(cohort) * (mean @ mean + epsilon))))
    w = w - steps[-1] * mean
    history.append(flat.split(w))
  return history, steps

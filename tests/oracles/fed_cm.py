"""FedCM (Xu et al. 2021) in NumPy; all averages are uniform.

Where clients take different numbers of steps, the direction is the mean over all of them.
"""

import numpy as np

from tests.oracles import flat


def run(weights, rounds, rate, alpha, server_rate=1.0, descend=flat.descend):
  """Global weights after every round."""
  x = flat.join(weights)
  last, history = np.zeros_like(x), []
  for cohort in rounds:
    mixed = lambda g, _, last=last: alpha * g + (1 - alpha) * last
    trained, steps = zip(*(descend(x, data, rate, mixed) for data in cohort))
    way = np.sum(np.array(trained) - x, axis=0)
    last = -way / (rate * sum(steps))
    x = x + server_rate * way / len(cohort)
    history.append(flat.split(x))
  return history

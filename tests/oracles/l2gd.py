"""L2GD (Hanzely, Richtárik 2020, algorithm 1) in NumPy, meeting after each round's steps."""

import numpy as np

from tests.oracles import flat


def run(weights, rounds, rate, pull):
  """The mean after every round, and every client's model after the last meeting.

  Args:
    weights: all start from these.
    rounds: the D of all clients for every round.
    rate: η.
    pull: θ = α λ / (n p).
  """
  own = {int(data['client']): flat.join(weights) for data in rounds[0]}
  history = []
  for cohort in rounds:
    for data in cohort:
      k = int(data['client'])
      own[k] = flat.descend(own[k], data, rate)[0]
    mean = np.mean(list(own.values()), axis=0)
    own = {k: (1.0 - pull) * x + pull * mean for k, x in own.items()}
    np.testing.assert_allclose(np.mean(list(own.values()), axis=0), mean)
    history.append(flat.split(mean))
  return history, {k: flat.split(x) for k, x in own.items()}

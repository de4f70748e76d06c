"""IFCA (Ghosh et al. 2020, algorithm 1) in NumPy; all averages are uniform."""

import numpy as np

from tests.oracles import fairness, flat


def run(starts, rounds, rate, averaging, server_rate=1.0):
  """All models after every round, and which of them every client of a round chose.

  Args:
    starts: the weights of each initial model.
    rounds: the D of each cohort's clients.
    rate: the clients' rate.
    averaging: 'models' or 'gradients'.
    server_rate: the server's rate, γ of 'gradients'.
  """
  models = [flat.join(start) for start in starts]
  history, choices = [], []
  for cohort in rounds:
    chosen = [int(np.argmin([fairness.loss(m, data) for m in models])) for data in cohort]
    renewed = list(models)
    for j in set(chosen):
      members = [data for data, choice in zip(cohort, chosen) if choice == j]
      if averaging == 'models':
        ways = [flat.descend(models[j], data, rate)[0] - models[j] for data in members]
        renewed[j] = models[j] + server_rate * np.mean(ways, axis=0)
      else:
        total = sum(flat.full_gradient(models[j], data) for data in members)
        renewed[j] = models[j] - server_rate / len(cohort) * total
    models = renewed
    history.append([flat.split(m) for m in models])
    choices.append(chosen)
  return history, choices

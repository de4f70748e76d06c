"""Ditto (Li et al. 2021, algorithm 1) in NumPy."""

from tests.oracles import flat


def run(weights, rounds, rate, regularization):
  """Global weights after every round, and every client's own at the end."""
  start = w = flat.join(weights)
  personal, history = {}, []
  for cohort in rounds:
    received = w
    for data in cohort:
      k = int(data['client'])
      tied = lambda g, v, received=received: g + regularization * (v - received)
      personal[k] = flat.descend(personal.get(k, start), data, rate, tied)[0]
    w = received + flat.mean_delta(received, cohort, rate)
    history.append(flat.split(w))
  return history, {k: flat.split(v) for k, v in personal.items()}

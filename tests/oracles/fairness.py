"""q-FedAvg, TERM among clients, and AFL in NumPy.

Li et al. 2020, algorithms 1 and 2; Li et al. 2021; Mohri et al. 2019.
"""

import numpy as np

from tests.oracles import flat


def loss(vector, data):
  """F_k: the mean cross-entropy over all examples of a client's D."""
  kernel, bias = flat.split(vector)
  logits = data['examples']['x'] @ kernel + bias
  logits = logits - logits.max(axis=1, keepdims=True)
  log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
  return -log_p[np.arange(len(log_p)), data['examples']['y']].mean()


def q_fed_avg(weights, rounds, rate, q):
  """Global weights after every round (algorithm 2)."""
  w, history = flat.join(weights), []
  for cohort in rounds:
    directions = [(w - flat.descend(w, data, rate)[0]) / rate for data in cohort]
    w = _q_step(w, cohort, directions, q, 1 / rate)
    history.append(flat.split(w))
  return history


def q_fed_sgd(weights, rounds, rate, q):
  """Global weights after every round (algorithm 1), L being 1 / rate."""
  w, history = flat.join(weights), []
  for cohort in rounds:
    w = _q_step(w, cohort, [flat.full_gradient(w, data) for data in cohort], q, 1 / rate)
    history.append(flat.split(w))
  return history


def _q_step(w, cohort, directions, q, lipschitz):
  delta, h = np.zeros_like(w), 0.0
  for data, direction in zip(cohort, directions):
    f = loss(w, data)
    delta += f**q * direction
    h += q * f ** (q - 1) * direction @ direction + lipschitz * f**q
  return w - delta / h


def term(weights, rounds, rate, t):
  """Global weights after every round."""
  w, history = flat.join(weights), []
  for cohort in rounds:
    tilted = np.array([np.exp(t * loss(w, data)) for data in cohort])
    trained = np.array([flat.descend(w, data, rate)[0] for data in cohort])
    w = tilted @ trained / tilted.sum()
    history.append(flat.split(w))
  return history


def nearest_mixture(vector):
  """The nearest point of the simplex: what is above a level, which bisection finds."""
  low, high = vector.min() - 1.0, vector.max()
  for _ in range(100):
    level = (low + high) / 2
    low, high = (level, high) if np.maximum(vector - level, 0.0).sum() > 1.0 else (low, level)
  return np.maximum(vector - level, 0.0)


def afl(weights, rounds, rate, mixture_rate, population):
  """Global weights after every round, and every round's mixture."""
  w, mixture = flat.join(weights), np.full(population, 1 / population)
  history, mixtures = [], []
  for cohort in rounds:
    clients = [int(data['client']) for data in cohort]
    losses = np.zeros(population)
    losses[clients] = [loss(w, data) for data in cohort]
    trained = np.array([flat.descend(w, data, rate)[0] for data in cohort])
    shares = mixture[clients]
    w = shares @ trained / shares.sum()
    mixture = nearest_mixture(mixture + mixture_rate * losses)
    history.append(flat.split(w))
    mixtures.append(mixture)
  return history, mixtures

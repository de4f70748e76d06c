"""Rules that combine updates, in NumPy: [n, d] updates and [n] weights to [d].

Each function makes a rule; rules with a state keep it from call to call.
"""

import math

import numpy as np
import scipy.optimize


def weighted_mean(updates, weights):
  return weights @ updates / weights.sum()


def mean():
  return weighted_mean


def median():
  """Yin et al. 2018, definition 1."""
  return lambda updates, weights: np.median(updates, axis=0)


def trimmed_mean(fraction):
  """Yin et al. 2018, definition 2."""

  def rule(updates, weights):
    del weights
    b = math.floor(fraction * len(updates))
    return np.sort(updates, axis=0)[b : len(updates) - b].mean(axis=0)

  return rule


def krum_scores(updates, f):
  """Blanchard et al. 2017, section 4: squared distances to the n - f - 2 nearest others, summed."""
  n = len(updates)
  result = []
  for i in range(n):
    others = sorted(np.sum((updates[i] - updates[j]) ** 2) for j in range(n) if j != i)
    result.append(sum(others[: n - f - 2]))
  return np.array(result)


def krum(f):
  return lambda updates, weights: updates[np.argmin(krum_scores(updates, f))]


def multi_krum(f, m):
  def rule(updates, weights):
    del weights
    best = np.argsort(krum_scores(updates, f), kind='stable')[:m]
    return updates[best].mean(axis=0)

  return rule


def fltrust(updates, own):
  """Cao et al. 2021, algorithm 2, with `own` the server's update."""
  scores = [max(0.0, u @ own / np.linalg.norm(u) / np.linalg.norm(own)) for u in updates]
  scaled = [np.linalg.norm(own) / np.linalg.norm(u) * u for u in updates]
  return sum(s * u for s, u in zip(scores, scaled)) / sum(scores)


def geometric_median(iterations, smoothing):
  """Pillutla et al. 2022, algorithm 2."""

  def rule(updates, weights):
    alpha = weights / weights.sum()
    v = alpha @ updates
    for _ in range(iterations):
      beta = alpha / np.maximum(smoothing, np.linalg.norm(updates - v, axis=1))
      v = beta @ updates / beta.sum()
    return v

  return rule


def fedmgda(epsilon):
  """Hu et al. 2022, FedMGDA+, the step as long as updates are on average."""

  def rule(updates, weights):
    lengths = np.linalg.norm(updates, axis=1)
    units = updates / lengths[:, None]
    usual = weights / weights.sum()
    found = scipy.optimize.minimize(
      lambda share: np.sum((share @ units) ** 2),
      usual,
      jac=lambda share: 2 * units @ (share @ units),
      bounds=[(max(0.0, u - epsilon), min(1.0, u + epsilon)) for u in usual],
      constraints={'type': 'eq', 'fun': lambda s: s.sum() - 1, 'jac': lambda s: np.ones_like(s)},
      options={'ftol': 1e-15, 'maxiter': 1000},
    )
    return usual @ lengths * found.x @ units

  return rule


class _Quantile:
  """Andrew et al. 2021, section 2.1, without noise."""

  def __init__(self, initial, quantile, rate):
    self.value, self.quantile, self.rate = initial, quantile, rate

  def update(self, norms):
    if self.quantile:
      b = np.mean(norms <= self.value)
      self.value *= math.exp(-self.rate * (b - self.quantile))


def norm_bounding(bound, quantile=0.0, rate=0.2, average=weighted_mean):
  """Sun et al. 2019, section 3."""
  estimate = _Quantile(bound, quantile, rate)

  def rule(updates, weights):
    norms = np.linalg.norm(updates, axis=1)
    clipped = updates / np.maximum(1.0, norms / estimate.value)[:, None]
    estimate.update(norms)
    return average(clipped, weights)

  return rule


def zeroing(bound, quantile, rate, multiplier, increment, average=weighted_mean):
  """TFF's zeroing: entries beyond the bound make an update zero; its weight still counts."""
  estimate = _Quantile(bound, quantile, rate)

  def rule(updates, weights):
    largest = np.abs(updates).max(axis=1)
    limit = multiplier * estimate.value + increment if quantile else bound
    kept = np.where((largest <= limit)[:, None], updates, 0.0)
    estimate.update(largest)
    return average(kept, weights)

  return rule


def secure_mean(bound):
  """Every entry of weight times update as one of 2^32 levels of [-bound, bound], then summed."""

  def rule(updates, weights):
    step = 2 * bound / (2**32 - 1)
    levels = np.round((np.clip(weights[:, None] * updates, -bound, bound) + bound) / step)
    return (levels * step - bound).sum(axis=0) / weights.sum()

  return rule


def federated(weights, rounds, rule, client_update, attack=None, attackers=()):
  """Global weights after every round of a rule, server rate 1.

  `client_update(weights, data)` is a client's honest update, a list of arrays; `attack` an object
  of `tests.oracles.attacks`.
  """
  history = []
  for cohort in rounds:
    updates = []
    for data in cohort:
      lies = attack is not None and int(data['client']) in attackers
      update = client_update(weights, attack.data(data) if lies else data)
      flat = np.concatenate([np.ravel(part) for part in update])
      updates.append(attack.update(flat) if lies else flat)
    updates = np.array(updates)
    if attack is not None:
      updates = attack.together(
        updates, np.array([int(data['client']) in attackers for data in cohort])
      )
    step = rule(updates, np.array([float(data['num_examples']) for data in cohort]))
    parts = np.split(step, np.cumsum([np.size(w) for w in weights])[:-1])
    weights = [w + part.reshape(np.shape(w)) for w, part in zip(weights, parts)]
    history.append(weights)
  return history

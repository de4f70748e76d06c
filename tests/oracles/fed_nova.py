"""FedNova (Wang et al. 2020, section 4) in NumPy, with the coefficients a_i written out."""

import numpy as np

from tests.oracles import flat


def coefficients(steps, rate, momentum, mu):
  """a_i as the paper has it: with momentum or with a proximal term, not both."""
  k = np.arange(steps)
  if mu:
    return (1 - rate * mu) ** (steps - 1 - k)
  return (1 - momentum ** (steps - k)) / (1 - momentum)


def run(weights, rounds, rate, momentum=0.0, mu=0.0):
  """Global weights after every round."""
  w = flat.join(weights)
  history = []
  for cohort in rounds:
    p, step, effective = flat.shares(cohort), np.zeros_like(w), 0.0
    for share, data in zip(p, cohort):
      trained, steps = train(w, data, rate, momentum, mu)
      a = coefficients(steps, rate, momentum, mu)
      step += share * (trained - w) / a.sum()
      effective += share * (steps if mu else a.sum())
    w = w + effective * step
    history.append(flat.split(w))
  return history


def train(centre, data, rate, momentum, mu):
  """Heavy-ball SGD on the loss plus mu/2 |w - centre|²."""
  velocity = np.zeros_like(centre)

  def direction(g, w):
    nonlocal velocity
    velocity = momentum * velocity + g + mu * (w - centre)
    return velocity

  return flat.descend(centre, data, rate, direction)

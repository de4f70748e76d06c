"""FedLC (Zhang et al. 2022), FedRS (Li, Zhan 2021), FedNTD (Lee et al. 2022), by the example."""

import numpy as np

from tests.oracles import flat, softmax_regression


def _run(weights, rounds, rate, error_of):
  """FedAvg whose steps have `error_of(data, centre)(logits, x, y)`, the slope by the logits."""
  w, history = flat.join(weights), []
  for cohort in rounds:
    trained = []
    for data in cohort:
      own, error = w, error_of(data, w)
      for x, y in softmax_regression.batches(data):
        kernel, bias = flat.split(own)
        slopes = np.array([error(z, a, b) for z, a, b in zip(x @ kernel + bias, x, y)])
        own = own - rate * flat.join([x.T @ slopes / len(y), slopes.mean(axis=0)])
      trained.append(own)
    w = flat.shares(cohort) @ np.array(trained)
    history.append(flat.split(w))
  return history


def _softmax(z):
  p = np.exp(z - z.max())
  return p / p.sum()


def fed_lc(weights, rounds, rate, tau):
  """Global weights after every round."""

  def error_of(data, _):
    counts = np.bincount(data['examples']['y'], minlength=softmax_regression.CLASSES)
    margins = tau * np.where(counts, np.maximum(counts, 1), 1e-4) ** -0.25
    return lambda z, x, y: _softmax(z - margins) - np.eye(len(z))[y]

  return _run(weights, rounds, rate, error_of)


def fed_rs(weights, rounds, rate, alpha):
  """Global weights after every round."""

  def error_of(data, _):
    present = np.isin(np.arange(softmax_regression.CLASSES), data['examples']['y'])
    scales = np.where(present, 1.0, alpha)
    return lambda z, x, y: scales * (_softmax(scales * z) - np.eye(len(z))[y])

  return _run(weights, rounds, rate, error_of)


def fed_ntd(weights, rounds, rate, beta, tau):
  """Global weights after every round."""

  def error_of(_, centre):
    kernel, bias = flat.split(centre)

    def error(z, x, y):
      others = [c for c in range(len(z)) if c != y]
      slope = _softmax(z) - np.eye(len(z))[y]
      theirs = _softmax((x @ kernel + bias)[others] / tau)
      slope[others] += beta / tau * (_softmax(z[others] / tau) - theirs)
      return slope

    return error

  return _run(weights, rounds, rate, error_of)

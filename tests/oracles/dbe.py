"""DBE (Zhang et al. 2023) on FedAvg in NumPy, with the features relu(x W1 + b1) of `two_layers`."""

import numpy as np

from tests.oracles import flat, softmax_regression


def _error(logits, y):
  p = np.exp(logits - logits.max(axis=1, keepdims=True))
  return (p / p.sum(axis=1, keepdims=True) - np.eye(logits.shape[1])[y]) / len(y)


def _train(weights, bias, data, rate, centre, kappa, mu):
  """The model, the vector, and the moving average of the features; no DBE without a centre."""
  running = 0.0
  for x, y in softmax_regression.batches(data):
    w1, b1, w2, b2 = weights
    z = np.maximum(x @ w1 + b1, 0.0)
    running = (1 - mu) * running + mu * z.mean(axis=0)
    moved = z if centre is None else z + bias
    error = _error(moved @ w2 + b2, y)
    slopes = error @ w2.T
    if centre is not None:
      # Each example is 1/n of the batch's mean, which is μ of the average.
      bias = bias - rate * slopes.sum(axis=0)
      slopes = slopes + kappa * 2 * (running - centre) / len(bias) * mu / len(y)
    back = slopes * (z > 0)
    gradient = [x.T @ back, back.sum(axis=0), moved.T @ error, error.sum(axis=0)]
    weights = [w - rate * g for w, g in zip(weights, gradient)]
  return weights, bias, running


def run(initial, rounds, rate, kappa, mu):
  """Global weights after every round; every client's vector at the end; the centre."""
  weights = [np.array(w, np.float64) for w in initial]
  biases, centre, history = {}, None, []
  for cohort in rounds:
    trained, means = [], []
    for data in cohort:
      k = int(data['client'])
      bias = biases.get(k, np.zeros(weights[2].shape[0]))
      own, biases[k], running = _train(weights, bias, data, rate, centre, kappa, mu)
      trained.append(own)
      means.append(running)
    shares = flat.shares(cohort)
    weights = [np.tensordot(shares, np.array(parts), 1) for parts in zip(*trained)]
    centre = shares @ np.array(means) if centre is None else centre
    history.append(weights)
  return history, biases, centre

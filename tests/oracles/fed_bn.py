"""FedBN (Li et al. 2021, algorithm 1) on a layer-normalised network of two layers, in NumPy."""

import numpy as np

from tests.oracles import softmax_regression

NORM = (2, 3)
"""Which of the weights (W1, b1, gamma, beta, W2, b2) stay at the client."""

_EPSILON = 1e-3


def _normalized(weights, x):
  """x W1 + b1 with mean 0 and variance 1 over each example's units, and its deviation."""
  before = x @ weights[0] + weights[1]
  centred = before - before.mean(axis=1, keepdims=True)
  deviation = np.sqrt(np.mean(centred**2, axis=1, keepdims=True) + _EPSILON)
  return centred / deviation, deviation


def gradient(weights, x, y):
  """Gradient of the mean cross-entropy of softmax(relu(gamma z + beta) W2 + b2)."""
  _, _, gamma, beta, w2, b2 = weights
  z, deviation = _normalized(weights, x)
  hidden = np.maximum(z * gamma + beta, 0.0)
  head = softmax_regression.gradient([w2, b2], hidden, y)
  logits = hidden @ w2 + b2
  p = np.exp(logits - logits.max(axis=1, keepdims=True))
  error = p / p.sum(axis=1, keepdims=True)
  error[np.arange(len(y)), y] -= 1.0
  back = (error / len(y)) @ w2.T * (hidden > 0)
  at_z = back * gamma
  # What moves all units alike, or along z, is undone by the normalisation.
  along = z * np.mean(at_z * z, axis=1, keepdims=True)
  at_units = (at_z - at_z.mean(axis=1, keepdims=True) - along) / deviation
  own = [(back * z).sum(axis=0), back.sum(axis=0)]
  return [x.T @ at_units, at_units.sum(axis=0), *own, *head]


def run(initial, rounds, rate):
  """Global weights after every round, and every client's own (gamma, beta) at the end."""
  initial = [np.array(w, np.float64) for w in initial]
  shared, own, history = initial, {}, []
  for cohort in rounds:
    trained = []
    for data in cohort:
      k = int(data['client'])
      model = list(shared)
      model[2:4] = own.get(k, initial[2:4])
      for x, y in softmax_regression.batches(data):
        model = [w - rate * g for w, g in zip(model, gradient(model, x, y))]
      own[k] = model[2:4]
      trained.append(model)
    shared = [
      initial[i] if i in NORM else np.mean([model[i] for model in trained], axis=0)
      for i in range(len(initial))
    ]
    history.append(shared)
  return history, own

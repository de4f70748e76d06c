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


def _logits(weights, x):
  z, _ = _normalized(weights, x)
  return np.maximum(z * weights[2] + weights[3], 0.0) @ weights[4] + weights[5]


def loss(weights, x, y):
  """The mean cross-entropy, whose gradient is `gradient`."""
  logits = _logits(weights, x)
  return np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y])


def gradient(weights, x, y):
  """Gradient of the mean cross-entropy of softmax(relu(gamma z + beta) W2 + b2)."""
  _, _, gamma, beta, w2, b2 = weights
  z, deviation = _normalized(weights, x)
  hidden = np.maximum(z * gamma + beta, 0.0)
  head = softmax_regression.gradient([w2, b2], hidden, y)
  logits = _logits(weights, x)
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


def joined(shared, own, private=NORM):
  """A whole model, from the global one and a client's own weights, in the order of `private`."""
  model = list(shared)
  for i, weight in zip(private, own):
    model[i] = weight
  return model


def run(initial, rounds, rate, private=NORM):
  """Global weights after every round, and every client's own weights at the end.

  Without private ones it is FedAvg.
  """
  initial = [np.array(w, np.float64) for w in initial]
  shared, own, history = initial, {}, []
  for cohort in rounds:
    trained = []
    for data in cohort:
      k = int(data['client'])
      model = joined(shared, own.get(k, [initial[i] for i in private]), private)
      for x, y in softmax_regression.batches(data):
        model = [w - rate * g for w, g in zip(model, gradient(model, x, y))]
      own[k] = [model[i] for i in private]
      trained.append(model)
    means = [np.mean(weights, axis=0) for weights in zip(*trained)]
    shared = joined(means, [initial[i] for i in private], private)
    history.append(shared)
  return history, own

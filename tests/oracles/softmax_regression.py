"""Softmax regression and its gradient in NumPy, and ragged clients to train it on."""

import numpy as np

DIMENSION, CLASSES, BATCH = 4, 3, 4
SIZES = (9, 5, 14)


def clients(seed=0):
  """Three clients of unequal sizes, each with at least two batches of four: float32 x, int32 y."""
  rng = np.random.default_rng(seed)
  made = []
  for k, size in enumerate(SIZES):
    x = rng.normal(loc=0.3 * k, size=(size, DIMENSION)).astype(np.float32)
    made.append({'x': x, 'y': rng.integers(0, CLASSES, size).astype(np.int32)})
  return made


def gradient(weights, x, y):
  """Gradient of the mean cross-entropy of softmax(xW + b), for weights (W, b), in float64."""
  kernel, bias = (np.asarray(w, np.float64) for w in weights)
  logits = x @ kernel + bias
  p = np.exp(logits - logits.max(axis=1, keepdims=True))
  p /= p.sum(axis=1, keepdims=True)
  p[np.arange(len(y)), y] -= 1.0
  return [x.T @ p / len(y), p.mean(axis=0)]


def batches(data):
  """The minibatches (x, y) of one client's D, in order."""
  for row in data['batches']:
    rows = row[row >= 0]
    if len(rows):
      yield data['examples']['x'][rows], data['examples']['y'][rows]

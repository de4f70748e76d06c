"""HeteroFL (Diao et al. 2021, algorithm 1) on a perceptron, in NumPy.

Narrow models are cut out of the wide one, trained as models of their own, and added up where they
came from.
"""

import math

import numpy as np

from tests.oracles import softmax_regression


def _gradient(weights, x, y, divisor):
  """Of the mean cross-entropy; hidden layers are relu((h W + b) / divisor)."""
  layers = [weights[i : i + 2] for i in range(0, len(weights), 2)]
  inputs = [x]
  for kernel, bias in layers[:-1]:
    inputs.append(np.maximum((inputs[-1] @ kernel + bias) / divisor, 0.0))
  logits = inputs[-1] @ layers[-1][0] + layers[-1][1]
  p = np.exp(logits - logits.max(axis=1, keepdims=True))
  error = p / p.sum(axis=1, keepdims=True)
  error[np.arange(len(y)), y] -= 1.0
  error /= len(y)
  found = []
  for (kernel, _), h in zip(reversed(layers), reversed(inputs)):
    found = [h.T @ error, error.sum(axis=0), *found]
    error = error @ kernel.T * (h > 0) / divisor
  return found


def corner(shapes, width):
  """For each weight the slices of a model of that width."""
  made, before = [], slice(None)
  for number in range(0, len(shapes), 2):
    last = number == len(shapes) - 2
    own = slice(None) if last else slice(math.ceil(width * shapes[number][1]))
    made += [(before, own), (own,)]
    before = own
  return made


def run(initial, rounds, rate, width_of, scaler=True):
  """Global weights after every round; `width_of` is each client's width."""
  shared, history = [np.array(w, np.float64) for w in initial], []
  shapes = [w.shape for w in shared]
  for cohort in rounds:
    sums = [np.zeros(shape) for shape in shapes]
    counts = [np.zeros(shape) for shape in shapes]
    for data in cohort:
      width = width_of[int(data['client'])]
      part = corner(shapes, width)
      model = [w[where] for w, where in zip(shared, part)]
      for x, y in softmax_regression.batches(data):
        found = _gradient(model, x, y, width if scaler else 1.0)
        model = [w - rate * g for w, g in zip(model, found)]
      for total, count, trained, where in zip(sums, counts, model, part):
        total[where] += trained
        count[where] += 1
    shared = [
      np.where(count > 0, total / np.maximum(count, 1), old)
      for old, total, count in zip(shared, sums, counts)
    ]
    history.append(shared)
  return history

"""Softmax regression over one flat vector of weights, on which a method's pseudocode is short."""

import numpy as np

from tests.oracles import softmax_regression

_KERNEL = softmax_regression.DIMENSION * softmax_regression.CLASSES


def join(weights):
  """The weights (W, b) as one vector, float64."""
  return np.concatenate([np.ravel(w) for w in weights]).astype(np.float64)


def split(vector):
  """The vector as weights (W, b)."""
  kernel = vector[:_KERNEL].reshape(softmax_regression.DIMENSION, softmax_regression.CLASSES)
  return [kernel, vector[_KERNEL:]]


def gradient(vector, x, y):
  """Gradient of the mean loss over the examples x, y."""
  return join(softmax_regression.gradient(split(vector), x, y))


def full_gradient(vector, data):
  """Gradient of the mean loss over all examples of a client's D."""
  return gradient(vector, data['examples']['x'], data['examples']['y'])


def descend(vector, data, rate, direction=lambda g, w: g):
  """The vector after SGD over the batches of D, along `direction(gradient, vector)`.

  Also the number of steps.
  """
  steps = 0
  for x, y in softmax_regression.batches(data):
    vector = vector - rate * direction(gradient(vector, x, y), vector)
    steps += 1
  return vector, steps


def shares(cohort):
  """p_k: each client's share of the cohort's examples."""
  sizes = np.array([data['num_examples'] for data in cohort], np.float64)
  return sizes / sizes.sum()


def mean_delta(vector, cohort, rate):
  """Δ_t of FedAvg: Σ p_k (w_k - w)."""
  trained = [descend(vector, data, rate)[0] for data in cohort]
  return shares(cohort) @ (np.array(trained) - vector)

"""FedAvg and FedSGD (McMahan et al. 2017, algorithm 1 and section 2) in NumPy."""

import numpy as np

from tests.oracles import softmax_regression


def local_sgd(weights, data, rate):
  """Weights after one pass of SGD over a client's batches."""
  weights = [np.array(w, np.float64) for w in weights]
  for x, y in softmax_regression.batches(data):
    g = softmax_regression.gradient(weights, x, y)
    weights = [w - rate * step for w, step in zip(weights, g)]
  return weights


def fed_avg(weights, rounds, client_rate, server_rate=1.0):
  """Global weights after every round; `rounds` holds the D of each cohort's clients."""
  history = []
  for cohort in rounds:
    n = sum(data['num_examples'] for data in cohort)
    step = [np.zeros_like(w, np.float64) for w in weights]
    for data in cohort:
      trained = local_sgd(weights, data, client_rate)
      share = data['num_examples'] / n
      step = [s + share * (new - old) for s, new, old in zip(step, trained, weights)]
    weights = [w + server_rate * s for w, s in zip(weights, step)]
    history.append(weights)
  return history


def fed_sgd(weights, rounds, rate):
  """Global weights after every round of full-batch gradients averaged by examples."""
  history = []
  for cohort in rounds:
    n = sum(data['num_examples'] for data in cohort)
    step = [np.zeros_like(w, np.float64) for w in weights]
    for data in cohort:
      g = softmax_regression.gradient(weights, data['examples']['x'], data['examples']['y'])
      step = [s + data['num_examples'] / n * part for s, part in zip(step, g)]
    weights = [w - rate * s for w, s in zip(weights, step)]
    history.append(weights)
  return history

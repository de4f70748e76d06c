"""FedPAC in NumPy: Xu, Tong, Huang 2023, algorithm 1, with the features relu(x W1 + b1)."""

import itertools

import numpy as np

from tests.oracles import flat, softmax_regression, two_layers
from tests.oracles.of_features import features


def best_mixture(form):
  """The α on the simplex of least αᵀ G α: of all sets of clients, the best of those that fit."""
  found = []
  for size in range(1, len(form) + 1):
    for members in map(list, itertools.combinations(range(len(form)), size)):
      inner = np.linalg.solve(form[np.ix_(members, members)], np.ones(size))
      if (inner >= 0).all():
        mixture = np.zeros(len(form))
        mixture[members] = inner / inner.sum()
        found.append((mixture @ form @ mixture, tuple(mixture)))
  return np.array(min(found)[1])


def _statistics(model, data, classes):
  x, y = data['examples']['x'], data['examples']['y']
  z = features(model, x)
  h = np.zeros((classes, z.shape[1]))
  for k in np.unique(y):
    h[k] = (y == k).mean() * z[y == k].mean(axis=0)
  return h, (np.square(z).sum(axis=1).mean() - np.square(h).sum()) / len(y)


def _train_head(model, data, rate, passes):
  batches = list(softmax_regression.batches(data))
  of_a_pass = -(-int(data['num_examples']) // len(batches[0][1]))
  for x, y in itertools.islice(itertools.cycle(batches), passes * of_a_pass):
    gradient = two_layers.gradient(model, x, y)
    model = [*model[:2], *(w - rate * g for w, g in zip(model[2:], gradient[2:]))]
  return model


def _train_body(model, data, rate, centroids, regularization):
  for x, y in softmax_regression.batches(data):
    gradient, z = two_layers.gradient(model, x, y), features(model, x)
    away = [0.0 * h if centroids[k] is None else h - centroids[k] for h, k in zip(z, y)]
    back = 2.0 * regularization * np.array(away) / z.shape[1] * (z > 0) / len(y)
    slopes = [gradient[0] + x.T @ back, gradient[1] + back.sum(axis=0)]
    model = [*(w - rate * g for w, g in zip(model[:2], slopes)), *model[2:]]
  return model


def run(initial, rounds, rate, regularization, classes, head_epochs=1):
  """Global weights by round; the clients' heads, the centroids and the last mixtures at the end."""
  initial = [np.array(w, np.float64) for w in initial]
  body, heads, centroids, history, mixtures = initial[:2], {}, [None] * classes, [], []
  for cohort in rounds:
    bodies, own_heads, h, v, sums, counts = [], [], [], [], [0.0] * classes, [0] * classes
    for data in cohort:
      model = [*body, *heads.get(int(data['client']), initial[2:])]
      means, variance = _statistics(model, data, classes)
      model = _train_head(model, data, rate, head_epochs)
      model = _train_body(model, data, rate, centroids, regularization)
      for z, k in zip(features(model, data['examples']['x']), data['examples']['y']):
        sums[k], counts[k] = sums[k] + z, counts[k] + 1
      bodies.append(model[:2])
      own_heads.append(model[2:])
      h.append(means)
      v.append(variance)
    shares = flat.shares(cohort)
    body = [np.tensordot(shares, np.array(parts), 1) for parts in zip(*bodies)]
    centroids = [s / n if n else c for s, n, c in zip(sums, counts, centroids)]
    mixtures = []
    for own in h:
      away = np.array([(own - other).ravel() for other in h])
      mixtures.append(best_mixture(away @ away.T + np.diag(v)))
    for mixture, data in zip(mixtures, cohort):
      mixed = [np.tensordot(mixture, np.array(parts), 1) for parts in zip(*own_heads)]
      heads[int(data['client'])] = mixed
    history.append([*body, *initial[2:]])
  return history, heads, centroids, mixtures

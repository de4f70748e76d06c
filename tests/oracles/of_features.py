"""MOON, FedProto, kNN-Per, FedRoD in NumPy, with the features relu(x W1 + b1) of `two_layers`.

Li et al. 2021, algorithm 1; Tan et al. 2022, algorithm 1; Marfoq et al. 2022, section 3; Chen, Chao
2022, section 4.
"""

import numpy as np

from tests.oracles import flat, softmax_regression, two_layers


def features(weights, x):
  """h, [n, d]."""
  return np.maximum(x @ weights[0] + weights[1], 0.0)


def _gradient(weights, x, y, of_features):
  """Of the mean loss, and of another one by its slope by the features, [n, d]."""
  hidden = features(weights, x)
  slopes = of_features(hidden, x, y) * (hidden > 0) / len(y)
  w1, b1, w2, b2 = two_layers.gradient(weights, x, y)
  return [w1 + x.T @ slopes, b1 + slopes.sum(axis=0), w2, b2]


def _descend(weights, data, rate, of_features):
  for x, y in softmax_regression.batches(data):
    gradient = _gradient(weights, x, y, of_features)
    weights = [w - rate * g for w, g in zip(weights, gradient)]
  return weights


def _cosine(a, b):
  """cos(a, b), and its slope by a."""
  lengths = np.linalg.norm(a) * np.linalg.norm(b)
  if lengths < 1e-12:
    return 0.0, np.zeros_like(a)
  cosine = a @ b / lengths
  return cosine, b / lengths - cosine * a / (a @ a)


def moon(initial, rounds, rate, mu, tau):
  """Global weights after every round."""
  weights = [np.array(w, np.float64) for w in initial]
  last, history = {}, []
  for cohort in rounds:
    trained = []
    for data in cohort:
      before = last.get(int(data['client']), initial)

      def slope(hidden, x, y, centre=weights, before=before):
        rows = []
        for h, g, p in zip(hidden, features(centre, x), features(before, x)):
          (near, up), (far, down) = _cosine(h, g), _cosine(h, p)
          share = np.exp(near / tau) / (np.exp(near / tau) + np.exp(far / tau))
          rows.append(mu * (1 - share) * (down - up) / tau)
        return np.array(rows)

      own = _descend(weights, data, rate, slope)
      last[int(data['client'])] = own
      trained.append(own)
    shares = flat.shares(cohort)
    weights = [np.tensordot(shares, np.array(parts), 1) for parts in zip(*trained)]
    history.append(weights)
  return history


def fed_proto(initial, rounds, rate, regularization, classes):
  """Prototypes after every round, None where there is none; every client's model at the end."""
  prototypes, models, history = [None] * classes, {}, []
  for cohort in rounds:
    sums, counts = [0.0] * classes, np.zeros(classes)
    for data in cohort:
      client, (x, y) = int(data['client']), (data['examples']['x'], data['examples']['y'])

      def slope(hidden, x, y, known=tuple(prototypes)):
        far = [0.0 * h if known[c] is None else h - known[c] for h, c in zip(hidden, y)]
        return 2.0 * regularization * np.array(far) / hidden.shape[1]

      own = _descend(
        models.get(client, [np.array(w, np.float64) for w in initial]), data, rate, slope
      )
      models[client] = own
      for h, c in zip(features(own, x), y):
        sums[c], counts[c] = sums[c] + h, counts[c] + 1
    for c in np.flatnonzero(counts):
      prototypes[c] = sums[c] / counts[c]
    history.append(list(prototypes))
  return history, models


def knn_per(weights, own_x, own_y, x, neighbours, weight, scale, classes):
  """p of every class, [n, classes]."""
  logits = features(weights, x) @ weights[2] + weights[3]
  p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
  memory, answers = features(weights, own_x), []
  for h, global_p in zip(features(weights, x), p):
    distances = np.linalg.norm(memory - h, axis=1)
    nearest = np.argsort(distances, kind='stable')[:neighbours]
    votes = np.zeros(classes)
    for i in nearest:
      votes[own_y[i]] += np.exp(-distances[i] / scale)
    answers.append(weight * votes / votes.sum() + (1 - weight) * global_p)
  return np.array(answers)


def fed_rod(initial, rounds, rate, gamma, classes):
  """Global weights after every round; every client's head at the end."""
  weights = [np.array(w, np.float64) for w in initial]
  heads, history = {}, []
  for cohort in rounds:
    trained = []
    for data in cohort:
      client, own = int(data['client']), weights
      nothing = [np.zeros((len(weights[2]), classes)), np.zeros(classes)]
      head = heads.get(client, nothing)
      counts = np.bincount(data['examples']['y'], minlength=classes)
      more = gamma * np.log(np.maximum(counts, 1e-30))
      for x, y in softmax_regression.batches(data):
        z = features(own, x)
        # Both heads are linear: together they answer as one whose weights are their sum.
        together = [own[2] + head[0], own[3] + head[1]]
        slopes = softmax_regression.gradient(together, z, y)
        gradient = two_layers.gradient([*own[:3], own[3] + more], x, y)
        head = [h - rate * g for h, g in zip(head, slopes)]
        own = [w - rate * g for w, g in zip(own, gradient)]
      heads[client] = head
      trained.append(own)
    shares = flat.shares(cohort)
    weights = [np.tensordot(shares, np.array(parts), 1) for parts in zip(*trained)]
    history.append(weights)
  return history, heads

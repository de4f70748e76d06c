"""A network of two dense layers, and FedPer and FedRep with its second layer private, in NumPy.

FedPer: Arivazhagan et al. 2019, algorithms 1 and 2. FedRep: Collins et al. 2021, algorithm 1, its
representation trained over whole passes.
"""

import numpy as np

from tests.oracles import softmax_regression

BODY = [True, True, False, False]
"""Which of the weights (W1, b1, W2, b2) are the body's; the others are the head's."""


def gradient(weights, x, y):
  """Gradient of the mean cross-entropy of softmax(relu(x W1 + b1) W2 + b2)."""
  w1, b1, w2, b2 = weights
  hidden = np.maximum(x @ w1 + b1, 0.0)
  head = softmax_regression.gradient([w2, b2], hidden, y)
  # The error at the output, of which the head's bias has the sum.
  logits = hidden @ w2 + b2
  p = np.exp(logits - logits.max(axis=1, keepdims=True))
  error = p / p.sum(axis=1, keepdims=True)
  error[np.arange(len(y)), y] -= 1.0
  back = (error / len(y)) @ w2.T * (hidden > 0)
  return [x.T @ back, back.sum(axis=0), *head]


def _descend(weights, data, rate, moves, passes=1):
  for _ in range(passes):
    for x, y in softmax_regression.batches(data):
      terms = zip(weights, gradient(weights, x, y), moves)
      weights = [w - rate * g if moving else w for w, g, moving in terms]
  return weights


def run(method, initial, rounds, rate, head_epochs=1):
  """Global weights after every round, and every client's own head at the end."""
  initial = [np.array(w, np.float64) for w in initial]
  shared, heads, history = initial, {}, []
  for cohort in rounds:
    trained = []
    for data in cohort:
      k = int(data['client'])
      model = [*shared[:2], *heads.get(k, initial[2:])]
      if method == 'fedrep':
        model = _descend(model, data, rate, [not body for body in BODY], head_epochs)
        model = _descend(model, data, rate, BODY)
      else:
        model = _descend(model, data, rate, [True] * 4)
      heads[k] = model[2:]
      trained.append(model[:2])
    counts = [1.0 if method == 'fedrep' else float(d['num_examples']) for d in cohort]
    body = [np.average(np.array(parts), axis=0, weights=counts) for parts in zip(*trained)]
    shared = [*body, *initial[2:]]
    history.append(shared)
  return history, heads


def fed_ala(initial, rounds, rate, mixture_rate, first_passes):
  """FedALA (Zhang et al. 2023, algorithm 1) that mixes the head.

  Global weights after every round; every client's model, and shares of the head, at the end.
  """
  initial = [np.array(w, np.float64) for w in initial]
  centre, models, shares, history = initial, {}, {}, []
  for cohort in rounds:
    trained = []
    for data in cohort:
      k, start = int(data['client']), list(centre)
      if k in models:
        w = shares.get(k, [np.ones_like(part) for part in initial[2:]])
        whole_pass = list(softmax_regression.batches({**data, 'batches': _first_pass(data)}))
        for _ in range(1 if k in shares else first_passes):
          for x, y in whole_pass:
            away = [c - own for c, own in zip(centre[2:], models[k][2:])]
            mixed = [own + s * a for own, s, a in zip(models[k][2:], w, away)]
            slopes = gradient([*centre[:2], *mixed], x, y)[2:]
            w = [np.clip(s - mixture_rate * g * a, 0, 1) for s, g, a in zip(w, slopes, away)]
        shares[k] = w
        away = [c - own for c, own in zip(centre[2:], models[k][2:])]
        start[2:] = [own + s * a for own, s, a in zip(models[k][2:], w, away)]
      models[k] = _descend(start, data, rate, [True] * 4)
      trained.append(models[k])
    counts = [float(d['num_examples']) for d in cohort]
    centre = [np.average(np.array(parts), axis=0, weights=counts) for parts in zip(*trained)]
    history.append(centre)
  return history, models, shares


def _first_pass(data):
  steps = -(-int(data['num_examples']) // data['batches'].shape[1])
  return data['batches'][:steps]


def lg_fed_avg(initial, rounds, rate):
  """LG-FedAvg (Liang et al. 2020, algorithm 1): the first layer private.

  Global weights after every round, and every client's own layer at the end.
  """
  initial = [np.array(w, np.float64) for w in initial]
  shared, own, history = initial, {}, []
  for cohort in rounds:
    trained = []
    for data in cohort:
      k = int(data['client'])
      model = _descend([*own.get(k, initial[:2]), *shared[2:]], data, rate, [True] * 4)
      own[k] = model[:2]
      trained.append(model[2:])
    shared = [*initial[:2], *_weighted(cohort, trained)]
    history.append(shared)
  return history, own


def fed_babu(initial, rounds, rate):
  """Global weights after every round of FedBABU (Oh et al. 2022, algorithm 1)."""
  shared, history = [np.array(w, np.float64) for w in initial], []
  for cohort in rounds:
    trained = [_descend(shared, data, rate, BODY)[:2] for data in cohort]
    shared = [*_weighted(cohort, trained), *shared[2:]]
    history.append(shared)
  return history


def _weighted(cohort, trained):
  """The mean of each tensor by examples."""
  counts = [float(data['num_examples']) for data in cohort]
  return [np.average(np.array(parts), axis=0, weights=counts) for parts in zip(*trained)]

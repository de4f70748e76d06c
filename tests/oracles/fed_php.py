"""FedPHP (Li et al. 2021) in NumPy: a moving average of a client's models teaches its next one."""

import numpy as np

from tests.oracles import flat, softmax_regression


def _softmax(z):
  p = np.exp(z - z.max(axis=1, keepdims=True))
  return p / p.sum(axis=1, keepdims=True)


def _logits(vector, x):
  kernel, bias = flat.split(vector)
  return x @ kernel + bias


def _trained(start, teacher, data, rate, taught, temperature):
  own = start
  for x, y in softmax_regression.batches(data):
    # Cross-entropy is linear in its labels: those of both losses are one mixture.
    truth = np.eye(softmax_regression.CLASSES)[y]
    labels = (1 - taught) * truth + taught * _softmax(_logits(teacher, x) / temperature)
    error = (_softmax(_logits(own, x)) - labels) / len(x)
    own = own - rate * flat.join([x.T @ error, error.sum(axis=0)])
  return own


def run(weights, rounds, rate, taught, temperature, momentum, growth):
  """Global weights after every round, and every client's inherited model at the end."""
  start = w = flat.join(weights)
  inherited, times, history = {}, {}, []
  for cohort in rounds:
    models = []
    for data in cohort:
      k = int(data['client'])
      teacher, before = inherited.get(k, start), times.get(k, 0)
      own = _trained(w, teacher, data, rate, taught, temperature)
      kept = momentum * min(1.0, before / growth)
      inherited[k], times[k] = kept * teacher + (1 - kept) * own, before + 1
      models.append(own)
    w = flat.shares(cohort) @ np.array(models)
    history.append(flat.split(w))
  return history, {k: flat.split(v) for k, v in inherited.items()}

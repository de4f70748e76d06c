"""FedGH (Yi et al. 2023, algorithm 1) in NumPy, with the features relu(x W1 + b1)."""

import numpy as np

from tests.oracles import softmax_regression, two_layers
from tests.oracles.of_features import features


def run(initial, rounds, rate, head_rate):
  """The head after every round, and every client's extractor at the end."""
  initial = [np.array(w, np.float64) for w in initial]
  head, extractors, history = initial[2:], {}, []
  for cohort in rounds:
    sent = []
    for data in cohort:
      client = int(data['client'])
      model = [*extractors.get(client, initial[:2]), *head]
      for x, y in softmax_regression.batches(data):
        model = [w - rate * g for w, g in zip(model, two_layers.gradient(model, x, y))]
      extractors[client] = model[:2]
      z, labels = features(model, data['examples']['x']), data['examples']['y']
      sent += [(z[labels == s].mean(axis=0), s) for s in np.unique(labels)]
    for point, s in sent:
      slope = softmax_regression.gradient(head, point[np.newaxis], np.array([s]))
      head = [w - head_rate * g for w, g in zip(head, slope)]
    history.append(head)
  return history, extractors

"""FML (Shen et al. 2020) in NumPy: two models, each taught by the labels and by the other."""

import numpy as np

from tests.oracles import flat, softmax_regression


def _probabilities(vector, x):
  kernel, bias = flat.split(vector)
  z = x @ kernel + bias
  p = np.exp(z - z.max(axis=1, keepdims=True))
  return p / p.sum(axis=1, keepdims=True)


def _slope(p, x, target):
  """Of the mean cross-entropy to `target`, which is that of the divergence from it, too."""
  error = (p - target) / len(x)
  return flat.join([x.T @ error, error.sum(axis=0)])


def run(weights, rounds, rate, alpha, beta):
  """Global weights after every round, and every client's own model at the end."""
  start = w = flat.join(weights)
  kept, history = {}, []
  for cohort in rounds:
    memes = []
    for data in cohort:
      client, meme = int(data['client']), w
      own = kept.get(client, start)
      for x, y in softmax_regression.batches(data):
        truth = np.eye(softmax_regression.CLASSES)[y]
        p_own, p_meme = _probabilities(own, x), _probabilities(meme, x)
        of_own = alpha * _slope(p_own, x, truth) + (1 - alpha) * _slope(p_own, x, p_meme)
        of_meme = beta * _slope(p_meme, x, truth) + (1 - beta) * _slope(p_meme, x, p_own)
        own, meme = own - rate * of_own, meme - rate * of_meme
      kept[client] = own
      memes.append(meme)
    w = flat.shares(cohort) @ np.array(memes)
    history.append(flat.split(w))
  return history, {client: flat.split(own) for client, own in kept.items()}

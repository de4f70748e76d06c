"""FedGen (Zhu et al. 2021, algorithm 1) in NumPy, with the features relu(x W1 + b1)."""

import numpy as np

from tests.oracles import softmax_regression, two_layers


def _gradient(generator, head, labels, noise):
  """Of the mean loss of the head on made features, by the generator's weights."""
  first, first_bias, second, second_bias = generator
  given = np.concatenate([noise, labels], axis=1)
  hidden = np.tanh(given @ first + first_bias)
  logits = (hidden @ second + second_bias) @ head[0] + head[1]
  p = np.exp(logits - logits.max(axis=1, keepdims=True))
  slopes = (p / p.sum(axis=1, keepdims=True) - labels) @ head[0].T / len(labels)
  back = slopes @ second.T * (1.0 - hidden**2)
  return [given.T @ back, back.sum(axis=0), hidden.T @ slopes, slopes.sum(axis=0)]


def make(generator, labels, noise):
  """Features of classes, [n, d]."""
  first, first_bias, second, second_bias = generator
  hidden = np.concatenate([noise, labels], axis=1) @ first + first_bias
  return np.tanh(hidden) @ second + second_bias


def run(initial, generator, rounds, rate, strength, steps, adam_rate, drawn):
  """Models after every round, and at the end the generator and the shares of classes.

  `drawn` gives labels, as rows of a unit matrix, and noise, by the name of who draws: (round,
  step) is the server, (data, step) a client; and by the shares.
  """
  weights = [np.array(w, np.float64) for w in initial]
  generator = [np.array(w, np.float64) for w in generator]
  moments = [[np.zeros_like(w) for w in generator] for _ in range(2)]
  classes = len(weights[3])
  shares, taken, history = np.full(classes, 1.0 / classes), 0, []
  for number, cohort in enumerate(rounds, 1):
    models, counts = [], np.zeros(classes)
    for data in cohort:
      model = weights
      for index, (x, y) in enumerate(softmax_regression.batches(data)):
        labels, noise = drawn(data, index, shares, data['batches'].shape[1])
        points = make(generator, labels, noise)
        slopes = softmax_regression.gradient(model[2:], points, labels.argmax(axis=1))
        gradient = two_layers.gradient(model, x, y)
        gradient[2:] = [g + strength * s for g, s in zip(gradient[2:], slopes)]
        model = [w - rate * g for w, g in zip(model, gradient)]
      models.append(model)
      counts += np.bincount(data['examples']['y'], minlength=classes)
    weights = [np.mean(np.array(parts), axis=0) for parts in zip(*models)]
    shares = counts / counts.sum()
    for index in range(steps):
      taken += 1
      gradient = _gradient(generator, weights[2:], *drawn(number, index, shares, None))
      for place, g in enumerate(gradient):
        for moment, beta, power in zip(moments, (0.9, 0.999), (1, 2)):
          moment[place] = beta * moment[place] + (1 - beta) * g**power
        step = adam_rate * np.sqrt(1 - 0.999**taken) / (1 - 0.9**taken)
        m, v = moments[0][place], moments[1][place]
        generator[place] = generator[place] - step * m / (np.sqrt(v) + 1e-7)
    history.append(weights)
  return history, generator, shares

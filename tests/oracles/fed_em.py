"""FedEM (Marfoq et al. 2021, algorithm 1) in NumPy: E over all examples, then M."""

import numpy as np

from tests.oracles import flat


def log_likelihoods(vector, x, y):
  """-l(i) of every example."""
  kernel, bias = flat.split(vector)
  z = x @ kernel + bias
  return z[np.arange(len(y)), y] - np.log(np.exp(z).sum(axis=1))


def responsibilities(models, shares, x, y):
  """q, [M, n]."""
  joint = np.array([p * np.exp(log_likelihoods(m, x, y)) for m, p in zip(models, shares)])
  return joint / joint.sum(axis=0)


def run(starts, rounds, rate):
  """All models after every round, and the shares of every client at the end."""
  models, history = np.array([flat.join(start) for start in starts]), []
  everybody = {int(data['client']) for cohort in rounds for data in cohort}
  shares = {client: np.full(len(models), 1 / len(models)) for client in everybody}
  for cohort in rounds:
    trained = []
    for data in cohort:
      client, (x, y) = int(data['client']), (data['examples']['x'], data['examples']['y'])
      q = responsibilities(models, shares[client], x, y)
      own = models.copy()
      for rows in data['batches']:
        rows = rows[rows >= 0]
        for m in range(len(own)) if len(rows) else ():
          # Σ_i q_m(i) ∇l_m(i) / B, example by example.
          slopes = [q[m, i] * flat.gradient(own[m], x[i : i + 1], y[i : i + 1]) for i in rows]
          own[m] = own[m] - rate * np.mean(slopes, axis=0)
      trained.append(own)
      shares[client] = q.mean(axis=1)
    models = np.tensordot(flat.shares(cohort), np.array(trained), 1)
    history.append([flat.split(m) for m in models])
  return history, shares


def predict(models, shares, x):
  """log p of every class under the mixture."""
  p = 0.0
  for (kernel, bias), share in zip(models, shares):
    z = np.exp(x @ kernel + bias)
    p = p + share * z / z.sum(axis=1, keepdims=True)
  return np.log(p)

"""Compressors in NumPy, from their papers: what a server decodes, given the same random numbers.

A stage is a function (tensor, draw, hyperparameter) -> (values, back): the values it hands to the
next stage, and the way back from what the next stages make of them. `draw(kind, count)` gives
random numbers: 'int32' (all of them), 'uniform' in [0, 1), 'normal'.
"""

import functools

import numpy as np
import scipy.linalg

from tests.oracles import softmax_regression


def share(fraction, n):
  return int(np.ceil(round(fraction * n, 9)))


def subset(n, k, draw):
  """k of n positions, ascending: those with the smallest draws."""
  return np.sort(np.argsort(draw('int32', n), kind='stable')[:k]) if k < n else np.arange(n)


def scatter(values, where, shape):
  full = np.zeros(int(np.prod(shape)))
  full[where] = values
  return full.reshape(shape)


def basis(shape, rank, draw):
  """A of H = A B: d1 rows, orthonormal columns; the identity where nothing is to be gained."""
  rows = int(np.prod(shape[:-1]))
  k = share(rank, rows) if rank < 1 else min(int(rank), rows)
  if len(shape) < 2 or k == rows:
    return None
  return np.linalg.qr(draw('normal', rows * k).reshape(rows, k))[0]


def low_rank(tensor, draw, rank):
  a = basis(tensor.shape, rank, draw)
  if a is None:
    return tensor, lambda values: values
  b = a.T @ tensor.reshape(len(a), -1)
  return b, lambda values: (a @ values.reshape(b.shape)).reshape(tensor.shape)


def random_mask(tensor, draw, fraction):
  where = subset(tensor.size, share(fraction, tensor.size), draw)
  return tensor.ravel()[where], lambda values: scatter(values, where, tensor.shape)


def subsample(tensor, draw, fraction):
  where = subset(tensor.size, share(fraction, tensor.size), draw)
  scaled = tensor.ravel()[where] * tensor.size / len(where)
  return scaled, lambda values: scatter(values, where, tensor.shape)


def top_k(tensor, draw, fraction):
  v = tensor.ravel()
  where = np.sort(np.argsort(-np.abs(v), kind='stable')[: share(fraction, v.size)])
  return v[where], lambda values: scatter(values, where, tensor.shape)


def block_size(n):
  """The largest power of two whose multiples cover n with at most n/16, or 64, zeros more."""
  block = 2 ** int(np.ceil(np.log2(n)))
  while -n % block > max(n / 16, 64):
    block //= 2
  return block


def rotated(v, draw):
  """H D applied to each block of v, and the inverse."""
  block = block_size(v.size)
  padded = np.pad(v, (0, -v.size % block))
  signs = np.where(draw('int32', padded.size) < 0, -1.0, 1.0)
  h = scipy.linalg.hadamard(block) / np.sqrt(block)
  rows = (padded * signs).reshape(-1, block) @ h
  return rows, lambda rows: ((np.reshape(rows, (-1, block)) @ h).ravel() * signs)[: v.size]


def rotation(tensor, draw):
  rows, back = rotated(tensor.ravel(), draw)
  return rows.ravel(), lambda values: back(values).reshape(tensor.shape)


def quantize(tensor, draw, bits):
  v = tensor.ravel()
  if v.max() == v.min():
    return tensor, lambda values: values
  levels = np.linspace(v.min(), v.max(), 2**bits)
  upper = np.clip(np.searchsorted(levels, v), 1, 2**bits - 1)
  low, high = levels[upper - 1], levels[upper]
  chosen = np.where(draw('uniform', v.size) < (v - low) / (high - low), high, low)
  return chosen.reshape(tensor.shape), lambda values: values


def qsgd(tensor, draw, levels):
  v = tensor.ravel()
  norm = np.linalg.norm(v)
  if norm == 0:
    return tensor, lambda values: values
  a = np.abs(v) * levels / norm
  xi = np.floor(a) + (draw('uniform', v.size) < a - np.floor(a))
  return (norm * np.sign(v) * xi / levels).reshape(tensor.shape), lambda values: values


def drive(tensor, draw):
  rows, back = rotated(tensor.ravel(), draw)
  absolute = np.abs(rows).sum(axis=1, keepdims=True)
  scale = (rows**2).sum(axis=1, keepdims=True) / np.where(absolute > 0, absolute, 1)
  decoded = back(np.where(rows >= 0, scale, -scale)).reshape(tensor.shape)
  return decoded, lambda values: values


STAGES = {
  f.__name__: f for f in (low_rank, random_mask, subsample, top_k, rotation, quantize, qsgd, drive)
}


def transmit(tensor, stages, draw):
  """A tensor after its way over the wire; `draw(i, kind, count)` is stage i's."""
  values, ways_back = np.asarray(tensor, np.float64), []
  for i, (name, hyperparameters) in enumerate(stages.items()):
    values, back = STAGES[name](values, functools.partial(draw, i), **hyperparameters)
    ways_back.append(back)
  for back in reversed(ways_back):
    values = back(values)
  return values


def factors(shape, stages, draw):
  """For structured updates: from what is trained to a weight's change, and the transposed map."""
  name, hyperparameters = next(iter(stages.items()))
  if name == 'random_mask':
    n = int(np.prod(shape))
    where = subset(n, share(hyperparameters['fraction'], n), draw)
    return lambda p: scatter(p, where, shape), lambda g: g.ravel()[where]
  a = basis(shape, hyperparameters['rank'], draw) if name == 'low_rank' else None
  if a is None:
    return lambda p: p, lambda g: g
  return lambda b: (a @ b).reshape(shape), lambda g: a.T @ g.reshape(len(a), -1)


def structured_sgd(start, data, rate, momentum, decay, maps):
  """SGD with momentum on the factors alone; gives the change of the weights."""
  parameters = [np.zeros_like(to_factor(w)) for w, (_, to_factor) in zip(start, maps)]
  velocity = [np.zeros_like(p) for p in parameters]
  change = lambda: [to_weight(p) for p, (to_weight, _) in zip(parameters, maps)]
  for x, y in softmax_regression.batches(data):
    weights = [w + c for w, c in zip(start, change())]
    g = softmax_regression.gradient(weights, x, y)
    g = [to_factor(a + decay * w) for a, w, (_, to_factor) in zip(g, weights, maps)]
    velocity = [momentum * v + a for v, a in zip(velocity, g)]
    parameters = [p - rate * v for p, v in zip(parameters, velocity)]
  return change()


def fed_avg(weights, rounds, rate, stages, draw, momentum=0.0, decay=0.0):
  """Global weights after every round of FedAvg whose updates go through the stages.

  `draw(data, position, i, kind, count)` gives the random numbers of one client's tensor and stage.
  Also gives the clients' memories of what was lost, where the chain has top_k.
  """
  history, memory = [], {}
  weights = [np.asarray(w, np.float64) for w in weights]
  for cohort in rounds:
    n = sum(data['num_examples'] for data in cohort)
    step = [np.zeros_like(w) for w in weights]
    for data in cohort:
      own = [functools.partial(draw, data, position) for position in range(len(weights))]
      maps = [factors(w.shape, stages, functools.partial(d, 0)) for w, d in zip(weights, own)]
      update = structured_sgd(weights, data, rate, momentum, decay, maps)
      client = int(data['client'])
      if 'top_k' in stages:
        lost = memory.get(client, [np.zeros_like(w) for w in weights])
        update = [u + m for u, m in zip(update, lost)]
      sent = [transmit(u, stages, d) for u, d in zip(update, own)]
      memory[client] = [u - s for u, s in zip(update, sent)]
      step = [s + data['num_examples'] / n * d for s, d in zip(step, sent)]
    weights = [w + s for w, s in zip(weights, step)]
    history.append(weights)
  return history, memory

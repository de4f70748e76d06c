"""FedRecon (Singhal et al. 2021, algorithm 1) in NumPy: two layers, the second one local."""

import math

import numpy as np

from tests.oracles import two_layers


def _descend(model, x, y, batch_size, rate, moves, passes):
  for _ in range(passes):
    for begin in range(0, len(y), batch_size):
      part = slice(begin, begin + batch_size)
      terms = zip(model, two_layers.gradient(model, x[part], y[part]), moves)
      model = [w - rate * g if moving else w for w, g, moving in terms]
  return model


def reconstruct(shared, initial, x, y, batch_size, rate, passes):
  """The whole model, its head made anew on these examples."""
  head = [not body for body in two_layers.BODY]
  return _descend([*shared[:2], *initial[2:]], x, y, batch_size, rate, head, passes)


def run(initial, rounds, rate, *, fraction, passes, factor, epochs):
  """Global weights after every round, clients counting alike; the head stays as it was at first."""
  initial = [np.array(w, np.float64) for w in initial]
  shared, history = initial, []
  for cohort in rounds:
    trained = []
    for data in cohort:
      order = data['batches'][data['batches'] >= 0][: data['num_examples']]
      x, y = (data['examples'][name][order] for name in ('x', 'y'))
      cut, batch_size = math.floor(fraction * len(y)), data['batches'].shape[1]
      model = reconstruct(shared, initial, x[:cut], y[:cut], batch_size, factor * rate, passes)
      model = _descend(model, x[cut:], y[cut:], batch_size, rate, two_layers.BODY, epochs)
      trained.append(model[:2])
    body = [np.mean(parts, axis=0) for parts in zip(*trained)]
    shared = [*body, *initial[2:]]
    history.append(shared)
  return history

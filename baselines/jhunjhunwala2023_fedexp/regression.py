"""FedExP, FedAvg and SCAFFOLD on linear regression with more weights than examples.

Jhunjhunwala, Wang, Joshi 2023, section 6, as in the authors' notebook: 20 clients, each with 30
rows a in R^1000 and F_i(w) = ½ |A_i w - b_i|²; for client i, 0.1 being a standard deviation,

    m_i ~ N(0, 0.1)   B_i ~ N(0, 0.1)   v_i ~ N(B_i, 1)   w_i ~ N(m_i, 1)   a ~ N(v_i, I)

and b_i = A_i w_i,

rows being scaled to length 1, and b_i as well. Clients take 20 steps of 0.1 along full gradients
from w, which is 0 at first, for 200 rounds. As in the paper, what FedExP has reached is the
objective at the mean of its last two models; its ε is 1e-12, where the notebook has none.
"""

from collections.abc import Mapping
import functools
from typing import Any

import numpy as np
import tensorflow as tf

from baselines import minimisation

CLIENTS, ROWS, WEIGHTS = 20, 30, 1000
SPREAD = 0.1
STEPS, RATE, ROUNDS = 20, 0.1, 200
_HYPERPARAMETERS: Mapping[str, Mapping[str, Any]] = {
  'fedexp': {'epsilon': 1e-12},
  'scaffold': {'option': 'II'},
}


class Loss(minimisation.Function):
  """½ |A w - b|² of a client's (A, -b), float32 [n, rows, d + 1]."""

  def value(self, w, x):
    residuals = tf.linalg.matvec(x, tf.concat([w, tf.ones([1])], axis=0))
    return tf.reduce_sum(residuals**2, axis=1) / 2.0


@functools.cache
def clients(seed: int) -> np.ndarray:
  """(A_i, -b_i) of all clients, float64 [clients, rows, d + 1]."""
  generator = np.random.RandomState(seed)
  model_means, centre_means = generator.normal(0, SPREAD, (2, CLIENTS))
  centres = [generator.normal(mean, 1, WEIGHTS) for mean in centre_means]
  made = []
  for mean, centre in zip(model_means, centres):
    model = generator.normal(mean, 1, WEIGHTS)
    rows = generator.normal(centre, 1, (ROWS, WEIGHTS))
    labels = rows @ model
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    made.append(np.column_stack([rows, -labels / np.linalg.norm(labels)]))
  return np.array(made)


def objective(data: np.ndarray, w: np.ndarray) -> float:
  """mean_i |A_i w - b_i|²."""
  return float(np.sum((data @ np.append(w, 1.0)) ** 2)) / len(data)


@functools.cache
def reached(algorithm: str, server_step: float, seed: int) -> float:
  """The objective after 200 rounds, in units of what it was at first."""
  data = clients(seed)
  points = minimisation.path(
    Loss(np.zeros(WEIGHTS)),
    list(data),
    algorithm,
    rounds=ROUNDS,
    local_steps=STEPS,
    step=RATE,
    server_step=server_step,
    hyperparameters=_HYPERPARAMETERS.get(algorithm, {}),
  )
  last = points[-2:].mean(axis=0) if algorithm == 'fedexp' else points[-1]
  return objective(data, last) / objective(data, points[0])


def against(algorithm: str, server_step: float, seed: int) -> float:
  """What FedExP has reached, in units of what another method has with a rate of the server's."""
  return reached('fedexp', 1.0, seed) / reached(algorithm, server_step, seed)

"""Figure 3 of SCAFFOLD: two quadratics that pull apart, minimised by our FedSGD, FedAvg, SCAFFOLD.

Karimireddy, Kale, Mohri, Reddi, Stich, Suresh 2020, "SCAFFOLD: Stochastic Controlled Averaging for
Federated Learning", section 7 and theorem II. The two clients have

    f_1(x) = β x² + G x,    f_2(x) = -G x,    f = (f_1 + f_2) / 2 = β x² / 2,

so that with β = 1 both the smoothness of f and the distance δ of the clients' Hessians from its own
are 1, and G says how far their gradients are apart. All gradients are full ones and both clients
always take part.

The paper gives neither step size nor start. Here all methods take steps of 0.1 from x = 10 and
have arrived where |x| ≤ 0.001. SCAFFOLD is that of option II. Speed depends on the step: with
smaller ones ten local steps are worth ten rounds, with larger ones less.
`python -m baselines.karimireddy2020_scaffold.quadratics` writes that into results/step.csv.
"""

import functools
import pathlib

import numpy as np
import pandas as pd

from baselines import minimisation

STEP = 0.1
STEPS = (0.05, 0.07, 0.1, 0.12, 0.15, 0.2, 0.3)
START = 10.0
ARRIVED = 1e-3
_CURVATURE = 1.0
_MOST_ROUNDS = 200


class Parabola(minimisation.Function):
  """a w² + b w of clients (a, b), float32 [n, 2]."""

  def value(self, w, x):
    return x[:, 0] * w[0] ** 2 + x[:, 1] * w[0]


@functools.cache
def path(
  algorithm: str, dissimilarity: float, local_steps: int, rounds: int, step: float = STEP
) -> np.ndarray:
  """x before the first and after every round, float32 [rounds + 1].

  Args:
    algorithm: `fedsgd`, which takes one step a round, `fedavg` or `scaffold`.
    dissimilarity: G.
    local_steps: K.
    rounds: how many.
    step: size of the clients' steps, or of FedSGD's.
  """
  points = minimisation.path(
    Parabola(np.array([START])),
    [np.array(pair) for pair in ((_CURVATURE, dissimilarity), (0.0, -dissimilarity))],
    algorithm,
    rounds=rounds,
    local_steps=local_steps,
    step=step,
    server_step=step if algorithm == 'fedsgd' else 1.0,
  )
  return points[:, 0].astype(np.float32)


def rounds_to_arrive(
  algorithm: str, dissimilarity: float, local_steps: int, step: float = STEP
) -> int:
  """Rounds until |x| ≤ 0.001, at most 200."""
  points = np.abs(path(algorithm, dissimilarity, local_steps, _MOST_ROUNDS, step))
  return int(np.argmax(points <= ARRIVED)) if points.min() <= ARRIVED else _MOST_ROUNDS


def speedup(local_steps: int, dissimilarity: float, step: float = STEP) -> float:
  """Rounds of SGD in rounds of SCAFFOLD with K local steps."""
  sgd = rounds_to_arrive('fedsgd', dissimilarity, 1, step)
  return sgd / rounds_to_arrive('scaffold', dissimilarity, local_steps, step)


def speedups() -> pd.DataFrame:
  """SCAFFOLD's speedup with G = 1 against the step that the paper does not give."""
  rows = [(f'K = {k}', step, speedup(k, 1.0, step)) for k in (2, 10) for step in STEPS]
  return pd.DataFrame(rows, columns=['line', 'step', 'speedup'])


def slowdown_of_scaffold(local_steps: int) -> float:
  """SCAFFOLD's rounds with G = 100 in those with G = 1."""
  far, near = (rounds_to_arrive('scaffold', g, local_steps) for g in (100.0, 1.0))
  return far / near


def growth_of_fedavg(one: tuple[int, float], other: tuple[int, float]) -> float:
  """f where FedAvg is after 100 rounds with one (K, G), in units of f with another."""
  return _loss('fedavg', *one) / _loss('fedavg', *other)


def loss_of_fedavg(local_steps: int, dissimilarity: float) -> float:
  """f where FedAvg is after 100 rounds, in units of f where SGD is."""
  return _loss('fedavg', local_steps, dissimilarity) / _loss('fedsgd', 1, dissimilarity)


def _loss(algorithm: str, local_steps: int, dissimilarity: float) -> float:
  """f where an algorithm is after 100 rounds."""
  return _CURVATURE * path(algorithm, dissimilarity, local_steps, 100)[-1] ** 2 / 2


if __name__ == '__main__':
  results = pathlib.Path(__file__).parent / 'results'
  speedups().to_csv(results / 'step.csv', index=False, float_format='%.4g')

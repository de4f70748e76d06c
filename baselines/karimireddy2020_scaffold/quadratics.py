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

import collections
from collections.abc import Sequence
import functools
import pathlib

import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import algorithms, runtime
from fl_research.datasets.federated_data import Problem
from fl_research.models import layers
from fl_research.models import model as model_lib
from fl_research.models.specification import ModelSpec
from fl_research.round import composition
from fl_research.round import process as process_lib
from fl_research.round.parts import Parts
from fl_research.training import client_states

STEP = 0.1
STEPS = (0.05, 0.07, 0.1, 0.12, 0.15, 0.2, 0.3)
START = 10.0
ARRIVED = 1e-3
_CURVATURE = 1.0
_MOST_ROUNDS = 200


class Parabola(layers.Layer):
  """One weight x and, for an example (a, b), the output a x² + b x."""

  kind = 'parabola'

  @property
  def weight_names(self):
    return ('x',)

  def initialise(self, shape, generator):
    return [np.array([START], np.float32)], ()

  def __call__(self, weights, x, seed=None):
    point = weights[0][0]
    return x[:, 0] * point**2 + x[:, 1] * point

  def keras(self, weights, x, name):
    return self(weights, x)


class Minimiser(model_lib.Model):
  """A model whose output is its loss, whatever the label."""

  def example_metrics(self, output, label):
    return collections.OrderedDict(num=tf.ones_like(output), loss=output)


def model() -> model_lib.Model:
  """Whose training on the examples (a, b) minimises the mean of a x² + b x."""
  number = np.dtype(np.float32)
  # A problem whose only metric is the loss.
  spec = ModelSpec((2,), number, (), number, Problem.RECONSTRUCTION, 1)
  return Minimiser(Parabola(), spec, seed=0)


def clients(dissimilarity: float, local_steps: int) -> list:
  """The D of both clients, G apart, for rounds of K full-gradient steps."""
  coefficients = [(_CURVATURE, dissimilarity), (0.0, -dissimilarity)]
  return [
    collections.OrderedDict(
      examples=collections.OrderedDict(x=np.array([pair], np.float32), y=np.zeros(1, np.float32)),
      batches=np.zeros((local_steps, 1), np.int32),
      num_examples=np.int32(1),
      client=np.int32(position),
      seed=np.zeros(2, np.int32),
    )
    for position, pair in enumerate(coefficients)
  ]


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
  sgd = tff.learning.optimizers.build_sgdm
  with runtime.use_context('fused', chunks=1):
    process = composition.build_process(
      Parts(
        model=model(),
        method=algorithms.build(algorithm, {}),
        client_optimizer=sgd(step),
        server_optimizer=sgd(step if algorithm == 'fedsgd' else 1.0),
        population_size=2,
      )
    )
    return _follow(process, clients(dissimilarity, local_steps), rounds)


def _follow(process: process_lib.FederatedProcess, cohort: Sequence, rounds: int) -> np.ndarray:
  state, points = process.initialize(), [START]
  kept = client_states.build(process)
  for _ in range(rounds):
    state = process.run_round(state, cohort, kept).state
    points.append(process.model_weights(state)[0][0])
  return np.array(points)


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

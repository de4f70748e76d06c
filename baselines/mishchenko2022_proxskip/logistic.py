"""Rounds that Scaffnew, GD, FedAvg and SCAFFOLD take on logistic regression with full gradients.

Mishchenko, Malinovsky, Stich, Richtárik 2022, section 5, figure 1:

    f(w) = mean over rows of log(1 + exp(-b aᵀw)) + λ/2 |w|²,    w from 0,

rows (a, b) being cut in the order of the file into 20 workers of the same size, whose largest
smoothness is L, λ among it, and λ = L / κ. Scaffnew takes steps of 1 / L, K = √κ of them in a
round, which is p = 1 / √κ, as the theorem has it; SCAFFOLD's theory asks for steps of 1 / (81 L K)
(Karimireddy et al. 2020, theorem VII, all clients in every round). A method has arrived where
f - min f is 1e-6 of what it was at first.
"""

from collections.abc import Callable
import dataclasses
import functools
import math
import os

import numpy as np
import scipy.optimize
import scipy.special
from sklearn import datasets
import tensorflow as tf

from baselines import minimisation
from fl_research.datasets import files

CONDITION, SMALL_CONDITION = 400.0, 100.0
WORKERS = 20
ARRIVED = 1e-6
RATES = (0.5, 1.0, 1.5)
"""Multiples of 1 / L among which rates are chosen where they are tuned."""
_MOST_ROUNDS, _MOST_STEPS = 300, 6_000
_EVERY = {'mushrooms': 1, 'a9a': 3, 'w8a': 10}
"""Data sets, and of how many of their rows one is used."""
_URL = 'https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/binary/'


class Loss(minimisation.Function):
  """A worker's f, of its rows b a, float32 [n, rows, d].

  Args:
    size: d.
    decay: λ.
  """

  def __init__(self, size: int, decay: float):
    super().__init__(np.zeros(size))
    self._decay = decay

  def value(self, w, x):
    losses = tf.nn.softplus(-tf.linalg.matvec(x, w))
    return tf.reduce_mean(losses, axis=1) + self._decay / 2.0 * tf.reduce_sum(w**2)


@dataclasses.dataclass(frozen=True)
class Objective:
  """f, and what its theory needs.

  Attributes:
    workers: rows b a of each, float64 [workers, rows, d].
    decay: λ.
    smoothness: L.
  """

  workers: np.ndarray
  decay: float
  smoothness: float

  @classmethod
  def of(cls, workers: np.ndarray, condition: float) -> 'Objective':
    """f with this κ = L / λ."""
    curvatures = [np.linalg.eigvalsh(own.T @ own / len(own) / 4)[-1] for own in workers]
    decay = max(curvatures) / (condition - 1)
    return cls(workers, decay, decay * condition)

  def worker(self, own: np.ndarray, w: np.ndarray) -> tuple[float, np.ndarray]:
    """A worker's f(w) and its gradient."""
    margins = own @ w
    loss = np.logaddexp(0.0, -margins).mean() + self.decay / 2 * w @ w
    return loss, -own.T @ scipy.special.expit(-margins) / len(own) + self.decay * w

  def value(self, w: np.ndarray) -> tuple[float, np.ndarray]:
    """f(w) and its gradient."""
    return self.worker(self.workers.reshape(-1, self.size), w)

  @property
  def size(self) -> int:
    """d."""
    return self.workers.shape[2]

  @functools.cached_property
  def optimum(self) -> np.ndarray:
    """w*, by SciPy's L-BFGS."""
    options = {'maxiter': 100_000, 'maxfun': 1_000_000, 'ftol': 1e-16, 'gtol': 1e-11}
    start = np.zeros(self.size)
    found = scipy.optimize.minimize(self.value, start, jac=True, method='L-BFGS-B', options=options)
    return found.x

  @functools.cached_property
  def least(self) -> float:
    """min f."""
    return self.value(self.optimum)[0]

  def excess(self, w: np.ndarray) -> float:
    """f(w) - min f."""
    margins = self.workers.reshape(-1, self.size) @ w
    return np.logaddexp(0.0, -margins).mean() + self.decay / 2 * w @ w - self.least

  def distance(self, w: np.ndarray) -> float:
    """|w - w*|²."""
    return float(np.sum((w - self.optimum) ** 2))

  def potential(self, local_steps: int) -> float:
    """Ψ at first: |w - w*|² + (K / L)² mean_i |∇f_i(w*)|², from w = 0 and variates of 0."""
    variates = [self.worker(own, self.optimum)[1] for own in self.workers]
    spread = np.mean(np.sum(np.square(variates), axis=1))
    return float(self.optimum @ self.optimum + (local_steps / self.smoothness) ** 2 * spread)


@functools.cache
def objective(data: str, condition: float = CONDITION) -> Objective:
  """f on a data set."""
  return Objective.of(_rows(data), condition)


def _rows(data: str) -> np.ndarray:
  """Rows b a of the workers, float64 [workers, rows, d]; some of the last rows are left over."""
  folder, packed = files.data_dir(), f'{data}.gz'
  name = packed if files.find(folder, 'libsvm', packed) else data
  path = files.fetch(folder, 'libsvm', name, _URL + data)
  with files.reading(path):
    features, labels = datasets.load_svmlight_file(os.fspath(path))
  signs = np.where(labels == labels.max(), 1.0, -1.0)
  rows = (features.toarray() * signs[:, np.newaxis])[:: _EVERY[data]]
  each = len(rows) // WORKERS
  return rows[: each * WORKERS].reshape(WORKERS, each, -1)


@functools.cache
def path(data: str, algorithm: str, local_steps: int, multiple: float, condition: float):
  """w before the first and after every round until f has arrived, with steps of multiple / L."""
  f = objective(data, condition)
  target = ARRIVED * f.excess(np.zeros(f.size))
  most = _MOST_ROUNDS if local_steps > 1 else _MOST_STEPS
  return _follow(f, algorithm, local_steps, multiple, most, lambda w: f.excess(w) <= target)


def _follow(
  f: Objective,
  algorithm: str,
  local_steps: int,
  multiple: float,
  most_rounds: int,
  arrived: Callable[[np.ndarray], bool],
) -> np.ndarray:
  return minimisation.path(
    Loss(f.size, f.decay),
    list(f.workers),
    algorithm,
    rounds=most_rounds,
    local_steps=local_steps,
    step=multiple / f.smoothness,
    arrived=arrived,
  )


def steps(condition: float) -> int:
  """K = √κ, rounded."""
  return round(math.sqrt(condition))


def rounds(
  data: str, algorithm: str, local_steps: int, multiple: float = 1.0, condition: float = CONDITION
) -> float:
  """Rounds until f has arrived; infinitely many where it does not."""
  f, points = objective(data, condition), path(data, algorithm, local_steps, multiple, condition)
  arrived = f.excess(points[-1]) <= ARRIVED * f.excess(points[0])
  return len(points) - 1 if arrived else math.inf


def against_gd(data: str) -> float:
  """Scaffnew's rounds in those of gradient descent, whose steps are 1 / L as well."""
  return rounds(data, 'scaffnew', steps(CONDITION)) / rounds(data, 'fedavg', 1)


def excess_against(data: str, algorithm: str, multiple: float) -> float:
  """Scaffnew's f - min f where it has arrived in that of another method after as many rounds."""
  f, local_steps = objective(data), steps(CONDITION)
  own = path(data, 'scaffnew', local_steps, 1.0, CONDITION)
  other = path(data, algorithm, local_steps, multiple, CONDITION)
  return f.excess(own[-1]) / f.excess(other[min(len(own), len(other)) - 1])


def against_scaffolds_theory(data: str) -> float:
  """`excess_against` SCAFFOLD with the steps that its theory asks for."""
  return excess_against(data, 'scaffold', 1.0 / (81 * steps(CONDITION)))


def against_tuned_scaffold(data: str) -> float:
  """Scaffnew's rounds in SCAFFOLD's, each with the best of the same rates."""
  best = lambda algorithm: min(rounds(data, algorithm, steps(CONDITION), r) for r in RATES)
  return best('scaffnew') / best('scaffold')


def against_its_theory(data: str) -> float:
  """Scaffnew's rounds until |w - w*|² is 1e-6 Ψ, in those of the paper's theorem."""
  f, local_steps = objective(data), steps(CONDITION)
  target = ARRIVED * f.potential(local_steps)
  shrinks = min(1 / CONDITION, 1 / local_steps**2)
  allowed = math.log(ARRIVED) / math.log1p(-shrinks) / local_steps
  points = _follow(
    f, 'scaffnew', local_steps, 1.0, math.ceil(allowed), lambda w: f.distance(w) <= target
  )
  return (len(points) - 1) / allowed if f.distance(points[-1]) <= target else math.inf


def growth(data: str) -> float:
  """By how much Scaffnew's rounds grow from κ = 100 to κ = 400, in the growth of GD's."""
  grown = {}
  for algorithm, local_steps in (('scaffnew', steps), ('fedavg', lambda condition: 1)):
    few, many = (
      rounds(data, algorithm, local_steps(c), condition=c) for c in (SMALL_CONDITION, CONDITION)
    )
    grown[algorithm] = many / few
  return grown['scaffnew'] / grown['fedavg']

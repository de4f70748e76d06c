"""What of FLUTE's setting makes its accuracy lower than ours, one difference at a time.

A run of lr_mnist.flags in NumPy, as two of the differences lie where no flag reaches: FLUTE's
`experiments/cv_lr_mnist` has FedML's data, which are Li et al.'s 2020 (FedProx), and FedML's model.
"""

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from fl_research import random_streams
from fl_research.datasets import mnist, partition
from fl_research.datasets.federated_data import DatasetOptions

_CLIENTS, _COHORT, _ROUNDS, _BATCH, _RATE = 1000, 10, 100, 10, 0.03
_TRAIN, _TEST, _LABELS = 60_000, 10_000, 10
_LEAST = 5  # examples that a client has of each of its digits, before the power law
_SIGMA = 2.0
_TRAIN_SHARE = 0.9


class _Split(NamedTuple):
  """The rows that each client has, and those for the test."""

  clients: list[np.ndarray]
  test: np.ndarray


def accuracy(
  unequal: bool,
  standardised: bool,
  squashed: bool,
  widest: float = math.inf,
  data_dir: str = '../shared/data',
  *,
  seed: int,
) -> float:
  """Test accuracy of FedAvg after 100 rounds.

  Args:
    unequal: FedProx's clients, and a tenth of each as the test, in place of 1,000 equal ones with
      two digits and MNIST's own test.
    standardised: each pixel less its mean, over its standard deviation, in place of [0, 1].
    squashed: a sigmoid of the scores before softmax and cross-entropy, as in FedML's model.
    widest: unequal clients are drawn until the standard deviation of their sizes is at most this.
    data_dir: folder of MNIST.
    seed: of clients, cohorts and batches.
  """
  x, y = _images(data_dir, standardised)
  clients, test = _unequal_clients(y, seed, widest) if unequal else _equal_clients(y, seed)
  generator = random_streams.generator(seed, 'flute_speed training')
  weights = np.zeros((x.shape[1], _LABELS), np.float32)
  for _ in range(_ROUNDS):
    cohort = generator.choice(len(clients), _COHORT, replace=False)
    rows = [generator.permutation(clients[client]) for client in cohort]
    trained = [_train(weights, x[own], y[own], squashed) for own in rows]
    weights = np.average(trained, axis=0, weights=[len(own) for own in rows]).astype(np.float32)
  return float(np.mean(np.argmax(x[test] @ weights, axis=1) == y[test]))


def _train(weights: np.ndarray, x: np.ndarray, y: np.ndarray, squashed: bool) -> np.ndarray:
  """One epoch of SGD from these weights."""
  weights = weights.copy()
  for first in range(0, len(x), _BATCH):
    inputs, labels = x[first : first + _BATCH], y[first : first + _BATCH]
    scores = inputs @ weights
    if squashed:
      scores = 1 / (1 + np.exp(-scores))
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    gradient = shares / shares.sum(axis=1, keepdims=True)
    gradient[np.arange(len(labels)), labels] -= 1
    if squashed:
      gradient *= scores * (1 - scores)
    weights -= _RATE / len(labels) * (inputs.T @ gradient)
  return weights


@functools.lru_cache(maxsize=2)
def _images(data_dir: str, standardised: bool) -> tuple[np.ndarray, np.ndarray]:
  """All 70,000 images as rows with a 1 at the end, those of MNIST's test last, and their labels."""
  pool = mnist.load(DatasetOptions(data_dir=data_dir))
  x = np.concatenate([pool.train['x'], pool.test['x']]).reshape(_TRAIN + _TEST, -1)
  if standardised:
    grey = 255 * x  # the 0.001 of FedProx's code is of grey levels
    x = (grey - grey.mean(axis=0)) / (grey.std(axis=0) + 0.001)
  ones = np.ones((len(x), 1), np.float32)
  return np.hstack([x, ones]), np.concatenate([pool.train['y'], pool.test['y']])


def _equal_clients(y: np.ndarray, seed: int) -> _Split:
  """The clients of lr_mnist.flags."""
  rows = {'x': np.arange(_TRAIN), 'y': y[:_TRAIN]}
  dealt = partition.partition(rows, 'labels', _CLIENTS, seed, labels_per_client=2)
  clients = np.split(dealt.pooled()['x'], np.cumsum(dealt.sizes)[:-1])
  return _Split(clients, np.arange(_TRAIN, _TRAIN + _TEST))


def _unequal_clients(y: np.ndarray, seed: int, widest: float = math.inf) -> _Split:
  """FedProx's clients: two neighbouring digits each, of sizes that differ by a log-normal factor.

  What is left of a digit after 5 examples for each client that has it is shared in proportion to
  exp(2 z), z normal. A tenth of each client is for the test.
  """
  counts = np.bincount(y, minlength=_LABELS)
  for draw in itertools.count():
    generator = random_streams.generator(seed, 'flute_speed clients', draw)
    owned = _draw_sizes(counts, generator)
    if owned.sum(axis=1).std() <= widest:
      break
  parts: list[list[np.ndarray]] = [[] for _ in range(_CLIENTS)]
  for label in range(_LABELS):
    rows = generator.permutation(np.flatnonzero(y == label))
    for client, part in enumerate(np.split(rows, np.cumsum(owned[:, label]))[:-1]):
      parts[client].append(part)
  clients, test = [], []
  for own in parts:
    rows = generator.permutation(np.concatenate(own))
    kept = int(_TRAIN_SHARE * len(rows))
    clients.append(rows[:kept])
    test.append(rows[kept:])
  return _Split(clients, np.concatenate(test))


def _draw_sizes(counts: np.ndarray, generator: np.random.Generator) -> np.ndarray:
  """How many examples of each digit each client has, clients x digits."""
  owned = np.zeros((_CLIENTS, _LABELS), int)
  for label, count in enumerate(counts):
    holders = [c for c in range(_CLIENTS) if label in (c % _LABELS, (c + 1) % _LABELS)]
    shares = generator.lognormal(0, _SIGMA, len(holders))
    extra = (count - _LEAST * len(holders)) * shares / shares.sum()
    owned[holders, label] = _LEAST + extra.astype(int)
  return owned

"""Synthetic(alpha, beta): clients that differ in their model and in their inputs.

Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith 2020 ("Federated optimization in heterogeneous
networks", section 5.1 and appendix C.1), made as the authors' own generator makes it. For device k

    u_k ~ N(0, alpha)   B_k ~ N(0, beta)   v_k ~ N(B_k, 1) in R^60
    W_k ~ N(u_k, 1) in R^{60x10}   b_k ~ N(u_k, 1) in R^10
    x ~ N(v_k, diag(j^-1.2))   y = argmax softmax(W_k' x + b_k)

and n_k = floor(s) + 50 examples, s log-normal with parameters (4, 2), hence a heavy tail without a
cap. Where paper and code differ, the code is followed, as the published figures come from it:

1. alpha and beta are standard deviations in the code, variances in the paper; the same for the
   pairs (0, 0) and (1, 1), not for (0.5, 0.5).
2. int(0.9 n_k) examples train in the code, 80 % in the paper.

The authors' generator is unseeded. With s the run's seed (modulo 2^32), what comes out here is
exactly what theirs writes after `numpy.random.seed(s); random.seed(s)`.
"""

import random

import numpy as np

from fl_research.datasets.federated_data import (
  ContiguousClients,
  DatasetOptions,
  FederatedData,
  Problem,
)
from fl_research.registry import UsageError

NUM_FEATURES = 60
NUM_CLASSES = 10
_TRAIN_FRACTION = 0.9
# 1.2 GB of float32; reached at about 11,000 devices.
_MOST_EXAMPLES = 5_000_000

Device = tuple[np.ndarray, np.ndarray]
"""x float64 [n, 60] and y int64 [n] of one device."""


def load(options: DatasetOptions) -> FederatedData:
  """Generates Synthetic(`options.alpha`, `options.beta`) for `options.num_clients` devices.

  x is float32 [60], y int32 0..9; the devices `f_00000`, ... have train and test examples each.

  Raises:
    UsageError: alpha or beta is negative or not finite, or the number of clients is not positive or
      so large that the examples would not fit in memory.
  """
  for name, value in (('synthetic_alpha', options.alpha), ('synthetic_beta', options.beta)):
    if not (np.isfinite(value) and value >= 0):
      raise UsageError(f'--{name}={value}: accepted is a number of at least 0')
  generator = np.random.RandomState(options.seed % 2**32)
  sizes = draw_sizes(generator, options.num_clients)
  model_means = generator.normal(0, options.alpha, len(sizes))
  centre_means = generator.normal(0, options.beta, len(sizes))
  centres = [generator.normal(mean, 1, NUM_FEATURES) for mean in centre_means]
  devices = []
  for size, model_mean, centre in zip(sizes, model_means, centres):
    weights = generator.normal(model_mean, 1, (NUM_FEATURES, NUM_CLASSES))
    bias = generator.normal(model_mean, 1, NUM_CLASSES)
    devices.append(draw_device(generator, size, centre, weights, bias))
  return split_devices(devices, options.seed)


def draw_sizes(generator: np.random.RandomState, num_clients: int) -> np.ndarray:
  """Numbers of examples of the devices, log-normal plus 50; checked to fit in memory."""
  if num_clients < 1:
    raise UsageError(f'--num_clients={num_clients}: accepted is an integer of at least 1')
  sizes = generator.lognormal(4, 2, num_clients).astype(int) + 50
  if sizes.sum() > _MOST_EXAMPLES:
    raise UsageError(
      f'--num_clients={num_clients}: {sizes.sum()} synthetic examples do not fit in memory, '
      f'at most {_MOST_EXAMPLES} are made'
    )
  return sizes


def draw_device(
  generator: np.random.RandomState,
  size: int,
  centre: np.ndarray,
  weights: np.ndarray,
  bias: np.ndarray,
) -> Device:
  """Draws a device's inputs around its centre and labels them with its model.

  The largest softmax is that of the largest logit, so that nothing overflows.
  """
  covariance = np.diag(np.arange(1, NUM_FEATURES + 1) ** -1.2)
  x = generator.multivariate_normal(centre, covariance, size)
  return x, np.argmax(x @ weights + bias, axis=1)


def split_devices(devices: list[Device], seed: int) -> FederatedData:
  """Shuffles every device's examples and cuts off the last tenth (rounded up) for testing."""
  shuffler = random.Random(seed % 2**32)
  train: list[Device] = []
  test: list[Device] = []
  for x, y in devices:
    order = list(range(len(y)))
    shuffler.shuffle(order)
    num_train = int(_TRAIN_FRACTION * len(y))
    train.append((x[order[:num_train]], y[order[:num_train]]))
    test.append((x[order[num_train:]], y[order[num_train:]]))
  test_clients = _clients(test)
  return FederatedData(
    _clients(train), test_clients.pooled(), Problem.CLASSIFICATION, NUM_CLASSES, test_clients
  )


def _clients(devices: list[Device]) -> ContiguousClients:
  arrays = {
    'x': np.concatenate([x for x, _ in devices]).astype(np.float32),
    'y': np.concatenate([y for _, y in devices]).astype(np.int32),
  }
  offsets = np.concatenate([[0], np.cumsum([len(y) for _, y in devices])])
  return ContiguousClients(arrays, offsets, [f'f_{k:05d}' for k in range(len(devices))])

"""LEAF's synthetic data: clients whose models are noisy copies of a common one.

Caldas et al. 2018 ("LEAF: a benchmark for federated settings", section on synthetic data), made as
LEAF's own generator makes it, with the numbers its documentation uses: 60 features, 5 classes, one
cluster of models. With Q ~ N(0, 1) in R^{61x5} and mu ~ N(N(0, 1), 1) common to all, client k has

    B_k ~ N(0, 1)   v_k ~ N(B_k, 1) in R^60   x ~ N(v_k, diag(j^-1.2))
    m_k ~ N(mu, 0.1)   w_k = Q m_k   z = (1, x)' w_k + e,   e ~ N(0, 0.1) in R^5

and min(floor(s) + 5, 1000) examples, s log-normal with parameters (3, 2). Two traps of the code,
both followed so that the data are LEAF's:

1. Its softmax sums over a client's *examples* instead of over the classes, so the label is
   argmax_c exp(z_ic) / sum_j exp(z_jc), and not the most probable class of the paper. It makes the
   classes of a client far more even than the paper's formula would.
2. It seeds once before drawing the sizes and again, alike, before all the rest.

LEAF leaves the split to a script; its default, 90 % of each client's examples for training
(rounded down), is used here, drawn by ours. For a given seed x, y and sizes are exactly LEAF's.
"""

import numpy as np
import scipy.special

from fl_research import random_streams
from fl_research.datasets.federated_data import (
  contiguous_clients,
  DatasetOptions,
  FederatedData,
  Problem,
)
from fl_research.registry import UsageError

NUM_FEATURES = 60
NUM_CLASSES = 5
_TRAIN_FRACTION = 0.9
_FEWEST_EXAMPLES = 5
_MOST_EXAMPLES = 1000


def load(options: DatasetOptions) -> FederatedData:
  """Generates the data of `options.num_clients` clients (LEAF's documentation has 1,000).

  x is float32 [60], y int32 0..4. Every client has train and test examples; its id is its number.

  Raises:
    UsageError: the number of clients is not positive.
  """
  if options.num_clients < 1:
    raise UsageError(f'--num_clients={options.num_clients}: accepted is an integer of at least 1')
  seed = options.seed % 2**32
  clients = generate(options.num_clients, seed)
  arrays = {
    'x': np.concatenate([x for x, _ in clients]).astype(np.float32),
    'y': np.concatenate([y for _, y in clients]).astype(np.int32),
  }
  train_rows, test_rows, first = [], [], 0
  for position, (_, y) in enumerate(clients):
    generator = random_streams.generator(options.seed, 'leaf_synthetic split', position)
    rows = first + generator.permutation(len(y))
    num_train = int(_TRAIN_FRACTION * len(y))
    train_rows.append(rows[:num_train])
    test_rows.append(rows[num_train:])
    first += len(y)
  ids = [str(position) for position in range(len(clients))]
  train = contiguous_clients(arrays, train_rows, ids)
  test = contiguous_clients(arrays, test_rows, ids)
  return FederatedData(train, test.pooled(), Problem.CLASSIFICATION, NUM_CLASSES, test)


def generate(num_clients: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
  """x float64 [n, 60] and y int64 [n] of every client, unsplit."""
  drawn = np.random.RandomState(seed).lognormal(3, 2, num_clients).astype(int)
  sizes = np.minimum(drawn + _FEWEST_EXAMPLES, _MOST_EXAMPLES)
  generator = np.random.RandomState(seed)
  model = generator.normal(0, 1, (NUM_FEATURES + 1, NUM_CLASSES, 1))
  cluster_mean = generator.normal(generator.normal(0, 1), 1, 1)
  return [_generate_client(generator, size, model, cluster_mean) for size in sizes]


def _generate_client(
  generator: np.random.RandomState, size: int, model: np.ndarray, cluster_mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  generator.choice(1, p=[1.0])  # LEAF draws a cluster here, of which there is only one
  centre = generator.normal(generator.normal(0, 1), 1, NUM_FEATURES)
  covariance = np.diag([j**-1.2 for j in range(1, NUM_FEATURES + 1)])
  x = generator.multivariate_normal(centre, covariance, size)
  weights = model @ generator.normal(cluster_mean, 0.1)
  noise = generator.normal(0, 0.1, (size, NUM_CLASSES))
  z = np.column_stack([np.ones(size), x]) @ weights + noise
  # The logarithm of LEAF's quotient: the same argmax, and no overflow.
  return x, np.argmax(z - scipy.special.logsumexp(z, axis=0), axis=1)

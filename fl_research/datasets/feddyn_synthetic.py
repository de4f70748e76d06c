"""FedDyn's synthetic data: clients of equal size whose models and inputs are alike, or not.

Acar, Zhao, Matas Navarro, Mattina, Whatmough, Saligrama 2021 ("Federated Learning Based on Dynamic
Regularization"), made as the authors' own generator makes it with the sizes of their example: 30
features, 5 classes, 200 examples for each client. For client k

    u_k ~ N(0, alpha)   B_k ~ N(0, beta)   v_k ~ N(B_k, 1) in R^30
    W_k ~ N(u_k, 1) in R^{30x5}   b_k ~ N(u_k, 1) in R^5
    x ~ N(v_k, diag(j^-1.2))   y = argmax(W_k' x + b_k)

alpha and beta being standard deviations. Their two switches for data that are alike are here the
values 0: with alpha = 0 all clients have one W ~ N(0, 1) and b ~ N(0, 1), with beta = 0 all v_k are
0. Both are 0 in their example.

There is no test set: as in their code, the test examples are the training examples of all clients,
so that what is reported as test loss is the objective itself.

The authors' generator is unseeded. With s the run's seed (modulo 2^32), what comes out here is
exactly what theirs makes after `numpy.random.seed(s)`.
"""

import numpy as np

from fl_research.datasets.federated_data import (
  ContiguousClients,
  DatasetOptions,
  FederatedData,
  Problem,
)
from fl_research.registry import UsageError

NUM_FEATURES = 30
NUM_CLASSES = 5
EXAMPLES_PER_CLIENT = 200


def load(options: DatasetOptions) -> FederatedData:
  """Generates the data of `options.num_clients` clients (the authors' example has 20).

  x is float32 [30], y int32 0..4. Every client is tested on its own training examples.

  Raises:
    UsageError: alpha or beta is negative or not finite, or the number of clients is not positive.
  """
  for name, value in (('synthetic_alpha', options.alpha), ('synthetic_beta', options.beta)):
    if not (np.isfinite(value) and value >= 0):
      raise UsageError(f'--{name}={value}: accepted is a number of at least 0')
  if options.num_clients < 1:
    raise UsageError(f'--num_clients={options.num_clients}: accepted is an integer of at least 1')
  x, y = generate(options.num_clients, options.alpha, options.beta, options.seed % 2**32)
  arrays = {'x': x.astype(np.float32), 'y': y.astype(np.int32)}
  clients = ContiguousClients(arrays, np.arange(options.num_clients + 1) * EXAMPLES_PER_CLIENT)
  return FederatedData(clients, clients.pooled(), Problem.CLASSIFICATION, NUM_CLASSES, clients)


def generate(
  num_clients: int, alpha: float, beta: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """x float64 [200 clients, 30] and y int64 [200 clients], client by client."""
  generator = np.random.RandomState(seed)
  generator.standard_normal(num_clients)  # their sizes, whose spread is 0
  model_means = generator.normal(0, alpha, num_clients)
  centres = _centres(generator, num_clients, beta)
  # Drawn in any case and then, in their code, drawn again.
  _model(generator, model_means[0])
  common = None if alpha else _model(generator, 0.0)
  x, y = [], []
  for mean, centre in zip(model_means, centres):
    weights, bias = common or _model(generator, mean)
    covariance = np.diag(np.arange(1, NUM_FEATURES + 1) ** -1.2)
    x.append(generator.multivariate_normal(centre, covariance, EXAMPLES_PER_CLIENT))
    y.append(np.argmax(x[-1] @ weights + bias, axis=1))
  return np.concatenate(x), np.concatenate(y)


def _centres(generator: np.random.RandomState, num_clients: int, beta: float) -> np.ndarray:
  means = generator.normal(0, beta, num_clients)
  if not beta:
    return np.zeros((num_clients, NUM_FEATURES))
  return np.array([generator.normal(mean, 1, NUM_FEATURES) for mean in means])


def _model(generator: np.random.RandomState, mean: float) -> tuple[np.ndarray, np.ndarray]:
  weights = generator.normal(mean, 1, (NUM_FEATURES, NUM_CLASSES))
  return weights, generator.normal(mean, 1, (1, NUM_CLASSES))

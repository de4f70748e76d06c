"""The objective of federated softmax regression in NumPy, and the paths that methods take on it.

f(w) = Σ_k p_k F_k(w), p_k in proportion to a client's examples, F_k the mean cross-entropy of its
training examples plus λ/2 |w|², which is what a client weight decay of λ adds. Its optimum is known
(see `minimum`), so that one can see how far from it a method comes to rest.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np
import scipy.optimize
import scipy.special

from baselines import training
from fl_research.datasets.federated_data import Clients
from fl_research.settings import Settings

_PRECISION = 1e-10


@dataclasses.dataclass(frozen=True)
class Objective:
  """f and its parts, of the weights w = (W, b) as one vector, float64 [(d + 1) classes].

  Attributes:
    clients: x with a last column of ones, float64 [n_k, d + 1], and one-hot y [n_k, classes].
    decay: λ.
  """

  clients: Sequence[tuple[np.ndarray, np.ndarray]]
  decay: float = 0.0

  @classmethod
  def of(cls, clients: Clients, num_classes: int, decay: float = 0.0) -> 'Objective':
    """The objective on the training examples of clients."""
    examples = [clients.examples(position) for position in range(len(clients))]
    return cls([_design(each, num_classes) for each in examples], decay)

  @property
  def shares(self) -> np.ndarray:
    """p_k, float64 [clients]."""
    sizes = np.array([len(x) for x, _ in self.clients], np.float64)
    return sizes / sizes.sum()

  def parts(self, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F_k(w) [clients] and its gradients [clients, len(w)]."""
    results = [self._part(vector, x, y) for x, y in self.clients]
    return np.array([loss for loss, _ in results]), np.array([grad for _, grad in results])

  def _part(self, vector: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    log_p = scipy.special.log_softmax(x @ vector.reshape(x.shape[1], -1), axis=1)
    loss = -np.sum(y * log_p) / len(x) + self.decay / 2 * vector @ vector
    gradient = x.T @ (np.exp(log_p) - y) / len(x)
    return loss, gradient.ravel() + self.decay * vector

  def value(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
    """f(w) and its gradient."""
    losses, gradients = self.parts(vector)
    return float(self.shares @ losses), self.shares @ gradients

  def gradient_variance(self, vector: np.ndarray) -> float:
    """Σ_k p_k |∇F_k(w) - ∇f(w)|², the dissimilarity of Li et al. 2020, section 5.3.3."""
    _, gradients = self.parts(vector)
    distances = gradients - self.shares @ gradients
    return float(self.shares @ np.sum(distances**2, axis=1))

  def minimum(self) -> float:
    """min f, by SciPy's L-BFGS; needs λ > 0 to be reached for certain."""
    (x, y) = self.clients[0]
    start = np.zeros(x.shape[1] * y.shape[1])
    options = {'maxiter': 100_000, 'maxfun': 1_000_000, 'ftol': _PRECISION, 'gtol': _PRECISION}
    return scipy.optimize.minimize(
      self.value, start, jac=True, method='L-BFGS-B', options=options
    ).fun


def _design(examples, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
  x = np.asarray(examples['x'], np.float64)
  return np.column_stack([x, np.ones(len(x))]), np.eye(num_classes)[examples['y']]


def path(settings: Settings) -> tuple[Objective, list[np.ndarray]]:
  """Trains softmax regression: the objective, and w after every `rounds_per_checkpoint` rounds.

  `settings.rounds_per_checkpoint` rounds lie between two points; the last round is one of them.
  """
  data, points = training.checkpoints(
    settings, lambda process, state: _vector(process.model_weights(state))
  )
  return Objective.of(data.train, data.num_classes, settings.client_weight_decay), points


def _vector(weights: Sequence[np.ndarray]) -> np.ndarray:
  return np.concatenate([weights[0], weights[1][np.newaxis]]).astype(np.float64).ravel()

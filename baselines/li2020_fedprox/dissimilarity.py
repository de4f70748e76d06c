"""How far the clients' gradients are apart while FedProx trains.

Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith 2020, "Federated Optimization in Heterogeneous
Networks", section 5.3.3 and figure 2: the variance E_k |∇F_k(w) - ∇f(w)|² at the global model w,
E_k weighing clients by their examples, on Synthetic(1,1) without stragglers. All other settings are
those of the flag files beside this module.
"""

import functools

import numpy as np
import scipy.stats

from baselines import softmax_objective
from fl_research.settings import Settings

_ROUNDS = 200
_INTERVAL = 5


@functools.cache
def curves(mu: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Loss and gradient variance of FedProx after every fifth round, float64 [40] each."""
  objective, points = softmax_objective.path(
    Settings(
      seed=seed,
      algorithm='fedprox',
      hyperparameters={'fedprox_mu': mu},
      task='synthetic',
      synthetic_alpha=1.0,
      synthetic_beta=1.0,
      client_epochs_per_round=20.0,
      client_batch_size='10',
      client_learning_rate=0.01,
      total_rounds=_ROUNDS,
      rounds_per_evaluation=_ROUNDS,
      rounds_per_checkpoint=_INTERVAL,
      jit='on',
    )
  )
  losses = np.array([objective.value(point)[0] for point in points])
  return losses, np.array([objective.gradient_variance(point) for point in points])


def variance_ratio(mu: float, seed: int) -> float:
  """Mean gradient variance over all rounds with μ, in units of that with μ = 0."""
  return float(curves(mu, seed)[1].mean() / curves(0.0, seed)[1].mean())


def follows_loss(seed: int) -> float:
  """Rank correlation of gradient variance and loss over the rounds of μ = 0 and μ = 1 together."""
  losses, variances = zip(curves(0.0, seed), curves(1.0, seed))
  return float(scipy.stats.spearmanr(np.concatenate(losses), np.concatenate(variances))[0])


def instability_ratio(mu: float, seed: int) -> float:
  """How much the loss rises with μ, all rises added up, in units of that with μ = 0."""
  rises = [np.maximum(np.diff(curves(m, seed)[0]), 0).sum() for m in (mu, 0.0)]
  return float(rises[0] / rises[1])

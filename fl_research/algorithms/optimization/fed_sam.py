"""FedSAM: local steps look for minima that are flat.

Qu, Li, Duan, Liu, Tang, Lu 2022, "Generalized Federated Learning via Sharpness Aware Minimization",
and independently Caldarola, Caputo, Ciccone 2022, "Improving Generalization in
Federated Learning by Seeking Flat Minima". Clients and server do as in FedAvg, but a local step has
the gradient at the worst point nearby, to first order, and not at the weights themselves:

    w̃ = w + ρ g(w) / |g(w)|,    w = w - η g(w̃),

both gradients on the same minibatch, so that a step costs two. |g| is over all weights together.
ρ = 0 is FedAvg.

Differences from the paper:
1. Momentum and weight decay of the clients, where the papers' experiments have them, are
   `--client_optimizer=momentum` and `--client_weight_decay` here, and see g(w̃). The cyclical rate
   and the averaged weights (SWA) of Caldarola et al. are not part of it.
2. Where g is 0, w̃ is w; their code divides by |g| + 1e-16.
3. Training metrics are those at w, as for every method.
"""

import tensorflow as tf

from fl_research.round.method import Method, Reply
from fl_research.round.objective import Objective
from fl_research.round.structures import subtract, Weights


class Sharpness(Objective):
  """Another objective's gradient, at the point within a ball around the weights where it is worst.

  The ball is |T⁻¹ (w̃ - w)| ≤ ρ with a diagonal T, to first order w̃ = w + ρ T² g / |T g|.

  Args:
    objective: the other objective.
    rho: ρ ≥ 0.
  """

  def __init__(self, objective: Objective, rho: float):
    self._objective = objective
    self._rho = rho

  def stretch(self, weights: Weights) -> Weights:
    """T, shaped like the weights: here that of a ball."""
    return tuple(tf.ones_like(w) for w in weights)

  def initial_carry(self, weights):
    return self._objective.initial_carry(weights)

  def gradient(self, weights, batch, seed, carry):
    found = self._objective.gradient(weights, batch, seed, carry)
    stretch = self.stretch(weights)
    direction = tuple(t * g for t, g in zip(stretch, found.gradient, strict=True))
    scale = tf.math.divide_no_nan(self._rho, tf.linalg.global_norm(direction))
    worst = tuple(w + scale * t * d for w, t, d in zip(weights, stretch, direction, strict=True))
    there = self._objective.gradient(worst, batch, seed, carry)
    return found._replace(gradient=there.gradient)


class FedSAM(Method):
  """Qu et al. 2022 (see the module's docstring).

  Args:
    rho: ρ ≥ 0.
  """

  def __init__(self, rho: float):
    self._rho = rho

  def objective(self, loss: Objective) -> Objective:
    """What local steps descend."""
    return Sharpness(loss, self._rho)

  def work(self, client, message):
    trained = client.train(message, objective=self.objective(client.loss))
    return Reply(subtract(trained.weights, message), client.state, trained)


def build(*, rho: float) -> Method:
  """The registry's entry point; the argument is that of `FedSAM`."""
  return FedSAM(rho)

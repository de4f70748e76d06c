"""FedDyn: a regulariser that changes until local and global optima agree.

Acar, Zhao, Matas Navarro, Mattina, Whatmough, Saligrama 2021, "Federated Learning Based on Dynamic
Regularization", algorithm 1. Client k keeps the gradient g_k at which it arrived last (0 at first).
From the global model θ it minimises, here by its optimiser's steps,

    L_k(w) - <g_k, w> + α/2 |w - θ|²,    then    g_k = g_k - α (θ_k - θ),

θ_k being where it ends. The server keeps h, 0 at first; with the cohort P of m clients in all,

    h = h - α |P| / m mean(θ_k - θ)
    θ = θ + η_s (mean(θ_k - θ) - h / α).

The paper has η_s = 1 (`--server_learning_rate`) and uniform means, which is the default here; with
other client weights the mean uses them, and under full participation the weighted objective is
minimised.

α = 0 is FedAvg: nothing is added, and h / α, which is 0 / 0, is taken as 0. The limit α → 0 is
FedAvg for the clients only: h / α = -Σ |P| / m mean(θ_k - θ) over all rounds does not depend on
how small α is, and vanishes only where a cohort is a small part of the population.

Differences from the paper:
1. Local problems are solved by a given number of optimiser steps, not to their minimum.
2. The authors' code scales α of each client by 1 / (its share of the examples times m) and clips
   gradients to a norm of 10; algorithm 1 and this module do neither
   (`--client_gradient_clip_norm=10` clips).
"""

import tensorflow as tf

from fl_research.round.method import Method, Reply
from fl_research.round.structures import subtract


class FedDyn(Method):
  """Acar et al. 2021, algorithm 1 (see the module's docstring).

  Server state: h. Client state: g_k.

  Args:
    alpha: α ≥ 0.
  """

  def __init__(self, alpha: float):
    self._alpha = alpha

  def bind(self, federation):
    federation.require_population('FedDyn')
    return super().bind(federation)

  def initial_own(self, weights):
    return [tf.zeros_like(w) for w in weights]

  def initial_client_state(self, weights):
    return [tf.zeros_like(w) for w in weights]

  def work(self, client, message):
    alpha, centre = self._alpha, message

    def term(weights):
      parts = zip(client.state, weights, centre, strict=True)
      return tuple(alpha * (w - c) - own for own, w, c in parts)

    trained = client.train(centre, objective=client.loss.plus(term))
    delta = subtract(trained.weights, centre)
    state = [own - alpha * d for own, d in zip(client.state, delta, strict=True)]
    return Reply(delta, state, trained)

  def finish(self, server, combined):
    share = self._alpha * combined.participants / self.federation.population_size
    h = [h - share * u for h, u in zip(server.own, combined.update, strict=True)]
    direction = tuple(
      u - tf.math.divide_no_nan(part, self._alpha)
      for u, part in zip(combined.update, h, strict=True)
    )
    return self.step(server, direction)._replace(own=h)


def build(*, alpha: float) -> Method:
  """The registry's entry point; the argument is that of `FedDyn`."""
  return FedDyn(alpha)

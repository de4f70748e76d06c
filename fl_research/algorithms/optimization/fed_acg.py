"""FedACG: clients begin where the server's momentum will take the model, and are held there.

Kim, Kim, Han 2024, "Communication-Efficient Federated Learning with Accelerated Client Gradient",
algorithm 1. The server keeps a momentum m, 0 at first, and sends the model θ as it will be if the
next round goes on like the last ones, θ̂ = θ + λ m. From there a client descends

    f_i(θ_i) + β/2 |θ_i - θ̂|²

and sends Δ_i = θ_i - θ̂; over the cohort

    m = λ m + mean(Δ_i),    θ = θ + η_s m.

With η_s = 1, as in the paper, θ is the mean of the clients' models. Clients keep nothing, and one
model is sent, as in FedAvg. η_s is `--server_learning_rate`. λ = 0 is FedProx with μ = β, and
λ = β = 0 is FedAvg; β = 0 is Nesterov's momentum at the server, whose lookahead clients see. The
proximal term costs what it does in FedProx: with small models and batches a third of a step.

Differences from the paper:
1. The paper averages uniformly, as is the default here; other client weights can be given.
2. With η_s other than 1, which the paper does not have, clients still begin at θ + λ m.
3. The test is of θ, where the model stands, as in algorithm 1, not of what clients are sent.
"""

import tensorflow as tf

from fl_research.algorithms.optimization import fed_prox
from fl_research.round.method import Method


class FedACG(fed_prox.FedProx):
  """Kim et al. 2024, algorithm 1 (see the module's docstring).

  Server state: m. Message: θ + λ m.

  Args:
    momentum: λ in [0, 1).
    beta: β ≥ 0.
  """

  def __init__(self, momentum: float, beta: float):
    super().__init__(beta)
    self._momentum = momentum

  def initial_own(self, weights):
    return [tf.zeros_like(w) for w in weights]

  def message(self, server):
    ahead = zip(server.weights, server.own, strict=True)
    return tuple(w + self._momentum * m for w, m in ahead)

  def finish(self, server, combined):
    pairs = zip(server.own, combined.update, strict=True)
    momentum = [self._momentum * m + d for m, d in pairs]
    return self.step(server, tuple(momentum))._replace(own=momentum)


def build(*, momentum: float, beta: float) -> Method:
  """The registry's entry point; the arguments are those of `FedACG`."""
  return FedACG(momentum, beta)

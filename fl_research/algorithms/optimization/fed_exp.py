"""FedExP: the server goes further than the mean where clients' updates cancel.

Jhunjhunwala, Wang, Joshi 2023, "FedExP: Speeding Up Federated Averaging via Extrapolation",
algorithm 1. Clients train as in FedAvg; with Δ_i the updates of the M clients of the round, and Δ
their mean, the server takes

    w_{t+1} = w_t + η_s η_g Δ,    η_g = max(1, Σ_i |Δ_i|² / (2 M (|Δ|² + ε))).

|Δ_i|² / |Δ|² is 1 where all updates agree, and M where they are orthogonal: the less clients agree,
the shorter is their mean, and the longer the step along it. η_g is in `metrics.csv`. With other
client weights p_i the sum is Σ_i p_i |Δ_i|² / 2, as in the authors' code. ε > 0; for ε → ∞ it is
FedAvg. η_s is `--server_learning_rate`, which the paper does not have (1).

Differences from the paper:
1. The paper evaluates the mean of the last two models, whose losses oscillate; here it is the last
   one, as for every method.
2. The authors' code multiplies ε by M, lets it decay with the square of the client's rate, and
   weighs clients by their examples; algorithm 1 and this module by default do none of this.
3. |Δ_i|² is sent as it is beside Δ_i: of updates that are compressed, or combined by a robust rule,
   Δ is what came of that, and the mean of |Δ_i|² is not.
"""

import collections

import tensorflow as tf

from fl_research.algorithms.optimization import fed_avg
from fl_research.round.method import Method
from fl_research.round.structures import squared_norm


class FedExP(fed_avg.FedAvg):
  """Jhunjhunwala et al. 2023, algorithm 1 (see the module's docstring). Server state: the last η_g.

  Args:
    epsilon: ε > 0.
  """

  auxiliary_weighting = 'update'

  def __init__(self, epsilon: float):
    self._epsilon = epsilon

  def initial_own(self, weights):
    return collections.OrderedDict(step=tf.constant(1.0))

  def work(self, client, message):
    reply = super().work(client, message)
    return reply._replace(auxiliary=squared_norm(reply.update))

  def finish(self, server, combined):
    mean = squared_norm(combined.update)
    step = tf.maximum(1.0, combined.auxiliary / (2.0 * (mean + self._epsilon)))
    after = self.step(server, tuple(step * d for d in combined.update))
    return after._replace(own=collections.OrderedDict(step=step))

  def measures(self, server):
    return {'server_step': server.own['step']}


def build(*, epsilon: float) -> Method:
  """The registry's entry point; the argument is that of `FedExP`."""
  return FedExP(epsilon)

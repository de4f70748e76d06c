"""FedAvgM: FedAvg with momentum at the server.

Hsu, Qi, Brown 2019, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
Classification". Clients train as in FedAvg; with Δ_t the aggregated update,

    v_t = β v_{t-1} + Δ_t,    v_0 = 0
    w_{t+1} = w_t + η_s v_t               (heavy ball)
    w_{t+1} = w_t + η_s (Δ_t + β v_t)     (Nesterov's acceleration).

η_s is `--server_learning_rate`, with its schedule. β = 0 is FedAvg, in both forms.

Differences from the paper:
1. The paper writes the heavy ball with η_s = 1; η_s is free here.
2. It gives no formula for the Nesterov form of its experiments; the one above is that of
   TensorFlow's optimisers, with which they were run.
"""

import tensorflow as tf

from fl_research.algorithms.optimization import fed_avg
from fl_research.round.method import Method


class FedAvgM(fed_avg.FedAvg):
  """Hsu et al. 2019 (see the module's docstring). Server state: v.

  Args:
    momentum: β in [0, 1).
    nesterov: whether to use Nesterov's form.
  """

  def __init__(self, momentum: float, nesterov: bool):
    self._momentum = momentum
    self._nesterov = nesterov

  def initial_own(self, weights):
    return [tf.zeros_like(w) for w in weights]

  def finish(self, server, combined):
    delta = combined.update
    velocity = [self._momentum * v + d for v, d in zip(server.own, delta, strict=True)]
    direction = tuple(velocity)
    if self._nesterov:
      direction = tuple(d + self._momentum * v for d, v in zip(delta, velocity))
    return self.step(server, direction)._replace(own=velocity)


def build(*, momentum: float, nesterov: bool) -> Method:
  """The registry's entry point; the arguments are those of `FedAvgM`."""
  return FedAvgM(momentum, nesterov)

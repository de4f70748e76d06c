"""FedMGDA+: the direction in which no client gains at the cost of another, near the usual weights.

Hu, Shaloudegi, Zhang, Yu 2022, "Federated Learning Meets Multi-Objective Optimization", algorithm
FedMGDA+. With û_i = Δ_i / ||Δ_i|| the updates at length one and λ⁰ the clients' usual weights, in
proportion to their examples say, the server solves

    λ = argmin ||Σ_i λ_i û_i||²,    λ_i ≥ 0,  Σ_i λ_i = 1,  |λ_i - λ⁰_i| ≤ ε,

and its direction is d = Σ_i λ_i û_i. ε = 1 leaves the mixture free: d is then the point of the
updates' convex hull that is nearest to 0, along which <d, û_i> ≥ ||d||² for every client, and
where it is 0 nothing can be done for one client without harm to another. ε = 0 is the mean of the
normalised updates. Lengths do not count, so that no client decides by sending more than others.

The step is d times Σ_i λ⁰_i ||Δ_i||, so that rates that suit the mean suit it too: where all send
the same, it is what they send. Domain: 0 ≤ ε ≤ 1.

λ is found in float64 from the Gram matrix of the updates (`simplex`).

Differences from the paper:
1. The paper's step has length η ||d||, with an η that decays; here that is the server's rate, times
   the mean length of the updates.
2. The paper solves for ε between 0 and 1 with λ⁰ uniform or by examples; here λ⁰ is the weights of
   the run (`--client_weighting`).
3. An update of length 0 takes part as it is. With ε = 1 it has the server stay where it is: its
   client cannot gain.
"""

import tensorflow as tf

from fl_research.aggregation import simplex, stacked


class FedMGDA(stacked.StackedRule):
  """Hu et al. 2022 (see the module's docstring).

  Args:
    epsilon: ε in [0, 1].
  """

  uses_weights = True

  def __init__(self, epsilon: float):
    self._epsilon = epsilon

  def combine(self, updates, weights):
    products = stacked.gram(updates)
    lengths = tf.sqrt(tf.linalg.diag_part(products))
    scale = tf.math.divide_no_nan(tf.ones_like(lengths), lengths)
    usual = tf.cast(weights, tf.float64)
    usual /= tf.reduce_sum(usual)
    low = tf.maximum(usual - self._epsilon, 0.0)
    high = tf.minimum(usual + self._epsilon, 1.0)
    mixture = simplex.minimise(products * scale * scale[:, tf.newaxis], usual, low, high)
    mean_length = tf.tensordot(usual, lengths, axes=1)
    return stacked.weighted_sum(updates, tf.cast(mean_length * mixture * scale, tf.float32))


def build(epsilon: float) -> stacked.StackedRule:
  """The registry's entry point."""
  return FedMGDA(epsilon)

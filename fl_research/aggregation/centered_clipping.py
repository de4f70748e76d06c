"""Centred clipping: updates are shortened around the last aggregate before their mean.

Karimireddy, He, Jaggi 2021, "Learning from History for Byzantine Robust Optimization", section 4
and algorithm 2. The rule remembers its aggregate v, zero before the first round. A round of n
updates begins there and makes L iterations

    v ← v + 1/n Σ_i (Δ_i - v) min(1, τ / ||Δ_i - v||),

after which v is the aggregate, and what the next round begins from. The norm is that of the whole
update, over all its tensors. One client moves an aggregate by at most L τ / n, whatever it sends.

Clients count the same whatever their weights, as in the paper; their weights only decide, by being
zero, who is left out. Domain: τ > 0, L ≥ 1. τ → ∞ is the unweighted mean, for every L. Without the
memory, L = 1 would be norm bounding with equal weights.

Every v is a combination of the last aggregate and the updates, so that all distances follow from
the Gram matrix of these n + 1 vectors, as for the geometric median: the updates themselves are read
twice, whatever L is.

Differences from the paper:
1. The paper combines the workers' momenta, averages of each worker's gradients over many rounds
   that make honest workers alike. Here it is whatever updates the clients send, which with plain
   local training remember nothing: the paper's β = 0, for which its guarantees are weaker.
2. All of the paper's workers take part in every round; here v may come from another cohort than
   the one that is clipped around it.
3. v is what the server's optimiser is given, before its rate. A round without usable updates
   leaves it as it is.
4. L = 1 is the paper's default. τ has no value that suits all models; 1 is ours.
5. The paper's full text was not at hand: the number of the section, its default L and what it says
   of β = 0 are not checked against it.
"""

import tensorflow as tf

from fl_research.aggregation import stacked


class CenteredClipping(stacked.StackedRule):
  """Karimireddy et al. 2021, algorithm 2 (see the module's docstring).

  Memory: v.

  Args:
    tau: τ > 0.
    iterations: L ≥ 1.
  """

  uses_weights = False

  def __init__(self, tau: float, iterations: int):
    self._tau = tau
    self._iterations = iterations

  def initial_memory(self, zeros):
    return zeros

  def next(self, memory, updates, weights, reference):
    del weights, reference
    joined = tuple(tf.concat([v[tf.newaxis], u], axis=0) for v, u in zip(memory, updates))
    coefficients = self._coefficients(stacked.gram(joined))
    center = stacked.weighted_sum(joined, tf.cast(coefficients, tf.float32))
    return center, center

  def _coefficients(self, products: tf.Tensor) -> tf.Tensor:
    """v after L iterations as a combination of the last v, which is row 0, and the updates."""
    squares = tf.linalg.diag_part(products)
    size = tf.size(squares)
    is_update = tf.cast(tf.range(size) > 0, tf.float64)
    coefficients = 1.0 - is_update
    for _ in range(self._iterations):
      along = tf.linalg.matvec(products, coefficients)
      center = tf.tensordot(coefficients, along, axes=1)
      distances = tf.sqrt(tf.maximum(center - 2.0 * along + squares, 0.0))
      kept = self._tau / tf.maximum(distances, self._tau)
      moves = is_update * kept / tf.cast(size - 1, tf.float64)
      coefficients = (1.0 - tf.reduce_sum(moves)) * coefficients + moves
    return coefficients


def build(tau: float, iterations: int) -> stacked.StackedRule:
  """The registry's entry point."""
  return CenteredClipping(tau, iterations)

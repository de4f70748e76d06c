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

λ is found in float64 from the Gram matrix of the updates, by moving weight from the client for
whom less would help most to the one for whom more would, as far as that helps (the sequential
minimal optimisation of support vector machines), until no pair is left that differs by 1e-10.

Differences from the paper:
1. The paper's step has length η ||d||, with an η that decays; here that is the server's rate, times
   the mean length of the updates.
2. The paper solves for ε between 0 and 1 with λ⁰ uniform or by examples; here λ⁰ is the weights of
   the run (`--client_weighting`).
3. An update of length 0 takes part as it is. With ε = 1 it has the server stay where it is: its
   client cannot gain.
"""

import tensorflow as tf

from fl_research.aggregation import stacked

_TOLERANCE = 1e-10
_MOST_MOVES = 10_000


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
    mixture = nearest_to_zero(products * scale * scale[:, tf.newaxis], usual, low, high)
    mean_length = tf.tensordot(usual, lengths, axes=1)
    return stacked.weighted_sum(updates, tf.cast(mean_length * mixture * scale, tf.float32))


def nearest_to_zero(
  products: tf.Tensor, start: tf.Tensor, low: tf.Tensor, high: tf.Tensor
) -> tf.Tensor:
  """The λ that minimises λᵀ G λ, low ≤ λ ≤ high, with the sum of `start`: float64 [n].

  Args:
    products: G, of inner products, float64 [n, n].
    start: a λ that is allowed, float64 [n].
    low, high: float64 [n].
  """
  infinity = tf.constant(float('inf'), tf.float64)

  def pair(mixture):
    """For whom more would help most, for whom less would, and by how much they differ."""
    slope = tf.linalg.matvec(products, mixture)
    up = tf.argmin(tf.where(mixture < high, slope, infinity))
    down = tf.argmax(tf.where(mixture > low, slope, -infinity))
    return up, down, tf.gather(slope, down) - tf.gather(slope, up)

  def move(moves, mixture, up, down, gain):
    at = lambda vector, place: tf.gather(vector, place)
    row = products[up] - products[down]
    curvature = at(row, up) - at(row, down)
    room = tf.minimum(at(high, up) - at(mixture, up), at(mixture, down) - at(low, down))
    step = tf.where(curvature > 0.0, tf.minimum(room, gain / tf.maximum(curvature, 1e-300)), room)
    change = tf.one_hot(up, tf.size(mixture), dtype=tf.float64)
    change -= tf.one_hot(down, tf.size(mixture), dtype=tf.float64)
    mixture = tf.clip_by_value(mixture + step * change, low, high)
    return moves + 1, mixture, *pair(mixture)

  _, mixture, *_ = tf.while_loop(
    lambda moves, mixture, up, down, gain: tf.logical_and(gain > _TOLERANCE, moves < _MOST_MOVES),
    move,
    (tf.constant(0), start, *pair(start)),
    parallel_iterations=1,
  )
  return mixture


def build(epsilon: float) -> stacked.StackedRule:
  """The registry's entry point."""
  return FedMGDA(epsilon)

"""The coordinate-wise trimmed mean.

Yin, Chen, Ramchandran, Bartlett 2018, "Byzantine-Robust Distributed Learning: Towards Optimal
Statistical Rates", definition 2 and algorithm 1 (option II): of every coordinate's n values the
βn largest and the βn smallest are removed, and the rest is averaged,

    Δ_j = 1 / (n - 2b) Σ_{i = b+1}^{n-b} Δ_(i)j,    Δ_(1)j ≤ … ≤ Δ_(n)j,    b = floor(β n).

Clients count the same whatever their weights, as in the paper; their weights only
decide, by being zero, who is left out. Domain: β in [0, 0.5). β = 0 is the unweighted mean, and so
is any β < 1/n.

Differences from the paper:
1. The paper takes βn for an integer; here it is rounded down, so that never more than a fraction β
   is removed on each side.
2. The paper combines gradients, one step a round; here whatever updates the clients send.
"""

import tensorflow as tf

from fl_research.aggregation import order_statistics, stacked


class TrimmedMean(stacked.StackedRule):
  """Yin et al. 2018, definition 2 (see the module's docstring).

  Args:
    fraction: β, the fraction removed on each side, in [0, 0.5).

  Raises:
    ValueError: the fraction is outside its domain.
  """

  uses_weights = False

  def __init__(self, fraction: float):
    if not 0 <= fraction < 0.5:
      raise ValueError(f'fraction must be in [0, 0.5), is {fraction}')
    self._fraction = fraction

  def combine(self, updates, weights):
    count = tf.shape(weights)[0]
    # A product such as 0.29 * 100 = 28.999999999999996 is meant to be 29.
    wanted = tf.floor(self._fraction * tf.cast(count, tf.float64) + 1e-9)
    trimmed = tf.minimum(tf.cast(wanted, tf.int32), (count - 1) // 2)
    return tuple(order_statistics.trimmed_mean(update, trimmed) for update in updates)


def build(fraction: float) -> stacked.StackedRule:
  """The registry's entry point."""
  return TrimmedMean(fraction)

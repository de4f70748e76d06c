"""Norm bounding: every update is shortened to a greatest length before the mean.

Sun, Kairouz, Suresh, McMahan 2019, "Can You Really Backdoor Federated Learning?", section 3
("norm thresholding of updates"):

    aggregate = Σ p_k Δ_k / max(1, ||Δ_k|| / M),    p_k = weight_k / Σ weights.

The norm is that of the whole update, over all its tensors. M → ∞ is the weighted mean.

M is fixed, or, with `quantile` γ > 0, the running estimate of the γ-quantile of the clients' norms
that starts from it (Andrew et al. 2021; see `fl_research.aggregation.norm_quantile`).

Differences from the paper:
1. The paper averages with equal weights; `--client_weighting=uniform` does.
2. It may add a little Gaussian noise afterwards, which is `--dp_noise_multiplier` here.
3. A bound that adapts is not the paper's.
4. An update with an entry beyond 1e15 counts as zero, since its norm cannot be computed in float32.
"""

import tensorflow as tf
import tensorflow_federated as tff

from fl_research.aggregation import norm_quantile, stacked, summed
from fl_research.aggregation import sums as sums_lib

# Entries beyond this make the squared norm of an update overflow float32, and clipping by an
# infinite norm would give NaN. Such an update is nobody's work and is zeroed.
_LARGEST_ENTRY = 1e15


class StackedNormBounding(stacked.StackedRule):
  """Norm bounding with a fixed bound, of stacked updates.

  Args:
    bound: M > 0.
  """

  def __init__(self, bound: float):
    self._bound = bound

  def combine(self, updates, weights):
    norms = tf.sqrt(tf.linalg.diag_part(stacked.gram(updates)))
    shares = weights / tf.reduce_sum(weights)
    factors = 1.0 / tf.maximum(tf.constant(1.0, tf.float64), norms / self._bound)
    return stacked.weighted_sum(updates, shares * tf.cast(factors, tf.float32))


def build(
  bound: float, quantile: float, learning_rate: float, sums: sums_lib.Sums = sums_lib.CLEAR
) -> summed.Summed:
  """The registry's entry point: TFF's clipping, whose M says the bound and how many were clipped.

  There is no stacked form where secure sums hide the updates, or where the bound adapts.
  """
  limit = norm_quantile.build(bound, quantile, learning_rate, sums=sums) if quantile else bound
  clipping = tff.aggregators.clipping_factory(limit, sums.mean(), sums.count())
  factory = tff.aggregators.zeroing_factory(
    _LARGEST_ENTRY, clipping, zeroed_count_sum_factory=sums.count()
  )
  has_stacked_form = not quantile and not sums.are_secure
  return summed.Summed(factory, StackedNormBounding(bound) if has_stacked_form else None)

"""The weighted mean: Σ p_k Δ_k with p_k = weight_k / Σ weights; zero when all weights are zero.

`build` gives it as a sum that a runtime folds client by client; `StackedMean` is the same rule for
where all updates must be seen at once, as attackers who collude do.

Differences from the paper:
1. It has none of its own: it is the average of FedAvg, and what other rules are compared with.
"""

import tensorflow as tf

from fl_research.aggregation import stacked as stacked_lib
from fl_research.aggregation import summed
from fl_research.aggregation import sums as sums_lib


class StackedMean(stacked_lib.StackedRule):
  """The weighted mean of stacked updates."""

  def combine(self, updates, weights):
    return stacked_lib.weighted_sum(updates, weights / tf.reduce_sum(weights))


def build(sums: sums_lib.Sums = sums_lib.CLEAR) -> summed.Summed:
  """The registry's entry point; secure sums hide the updates that the stacked form needs."""
  return summed.Summed(sums.mean(), None if sums.are_secure else StackedMean())

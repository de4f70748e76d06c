"""The weighted mean: Σ p_k Δ_k with p_k = weight_k / Σ weights; zero when all weights are zero.

`build` gives it as a sum that a runtime folds client by client; `StackedMean` is the same rule for
where all updates must be seen at once, as attackers who collude do.
"""

import tensorflow as tf
import tensorflow_federated as tff

from fl_research.aggregation import stacked as stacked_lib


class StackedMean(stacked_lib.StackedAggregator):
  """The weighted mean of stacked updates."""

  def combine(self, updates, weights):
    return stacked_lib.weighted_sum(updates, weights / tf.reduce_sum(weights))


class MeanFactory(tff.aggregators.MeanFactory):
  """TFF's weighted mean, which knows its stacked form."""

  def __init__(self):
    super().__init__(no_nan_division=True)

  def stacked(self) -> stacked_lib.StackedAggregator:
    """The same rule over stacked updates."""
    return StackedMean()


def build() -> tff.aggregators.WeightedAggregationFactory:
  """The registry's entry point."""
  return MeanFactory()

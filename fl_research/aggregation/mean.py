"""The weighted mean: Σ p_k Δ_k with p_k = weight_k / Σ weights; zero when all weights are zero.

`build` gives it as a sum that a runtime folds client by client; `StackedMean` is the same rule for
where all updates must be seen at once, as attackers who collude do.

Differences from the paper:
1. It has none of its own: it is the average of FedAvg, and what other rules are compared with.
"""

from typing import Optional

import tensorflow as tf
import tensorflow_federated as tff

from fl_research.aggregation import stacked as stacked_lib
from fl_research.aggregation import sums as sums_lib


class StackedMean(stacked_lib.StackedAggregator):
  """The weighted mean of stacked updates."""

  def combine(self, updates, weights):
    return stacked_lib.weighted_sum(updates, weights / tf.reduce_sum(weights))


class Mean(tff.aggregators.WeightedAggregationFactory):
  """TFF's weighted mean, which knows its stacked form.

  For updates of type T its process has

      next: (<S@SERVER, {T}@CLIENTS, {float32}@CLIENTS> -> <S@SERVER, T@SERVER, M@SERVER>)

  with S and M those of the two sums, of weighted updates and of weights.

  Args:
    sums: how sums over clients are taken.
  """

  def __init__(self, sums: sums_lib.Sums):
    self._sums = sums

  def create(self, value_type, weight_type):
    return self._sums.mean().create(value_type, weight_type)

  def stacked(self) -> Optional[stacked_lib.StackedAggregator]:
    """The same rule over stacked updates; None where secure sums hide them."""
    return None if self._sums.are_secure else StackedMean()


def build(sums: sums_lib.Sums = sums_lib.CLEAR) -> tff.aggregators.WeightedAggregationFactory:
  """The registry's entry point."""
  return Mean(sums)

"""Aggregators that need nothing of the clients but sums: any `tff.aggregators` factory."""

from typing import Optional, Union

import numpy as np
import tensorflow_federated as tff

from fl_research.aggregation import combiner, stacked


class Summed(combiner.Combiner):
  """Any `tff.aggregators` factory, weighted or not, as a combiner.

  Args:
    factory: the factory.
    stacked_rule: the same rule over stacked updates, where there is one.

  Attributes:
    factory: the factory.
  """

  def __init__(
    self,
    factory: tff.aggregators.AggregationFactory,
    stacked_rule: Optional[stacked.StackedRule] = None,
  ):
    self.factory = factory
    self._stacked = stacked_rule

  def create(self, update_type):
    if isinstance(self.factory, tff.aggregators.WeightedAggregationFactory):
      weighted = self.factory.create(update_type, tff.TensorType(np.float32))
      return combiner.Combining(
        weighted.initialize,
        lambda state, arrived, _: weighted.next(state, arrived['update'], arrived['weight']),
      )
    unweighted = self.factory.create(update_type)
    return combiner.Combining(
      unweighted.initialize,
      lambda state, arrived, _: unweighted.next(state, arrived['update']),
    )

  def create_seen(self, update_type, seen):
    return self._stacked.create_seen(update_type, seen) if self._stacked else None


def combiner_of(
  aggregator: Union[combiner.Combiner, tff.aggregators.AggregationFactory],
) -> combiner.Combiner:
  """A combiner as it is, and any `tff.aggregators` factory as one."""
  return aggregator if isinstance(aggregator, combiner.Combiner) else Summed(aggregator)

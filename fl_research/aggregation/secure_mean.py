"""The weighted mean through sums that hide their terms from the server.

Bonawitz et al. 2017, "Practical Secure Aggregation for Privacy-Preserving Machine Learning": the
server learns Σ weight_k Δ_k and Σ weight_k, and nothing of a single client. TFF expresses this by
`tff.federated_secure_sum_bitwidth`, of integers in a range that is known beforehand; a simulation
computes these sums in the clear. What the simulation does show is the price of fixed range and
integers (`tff.aggregators.SecureSumFactory`): every entry of weight_k Δ_k is clipped to [-B, B] and
rounded to one of 2^32 levels, which moves the mean by at most n B 2^-32 / Σ weight_k. Weights are
rounded in the same way, from the range [0, 2^20 - 1] (as in `tff.learning.secure_aggregator`), in
which whole numbers stay what they are but for float32's own rounding.

B → ∞ in exact arithmetic is the weighted mean. Rules that look at single updates (median, Krum, the
geometric median) cannot be had this way: there are no single updates to look at.
"""

import contextlib
import logging

import tensorflow_federated as tff

_LARGEST_WEIGHT = float(2**20 - 1)


class SecureMean(tff.aggregators.WeightedAggregationFactory):
  """The weighted mean by secure sums (see the module's docstring).

  Args:
    bound: B.
  """

  def __init__(self, bound: float):
    self._factory = tff.aggregators.MeanFactory(
      value_sum_factory=tff.aggregators.SecureSumFactory(bound, -bound),
      weight_sum_factory=tff.aggregators.SecureSumFactory(_LARGEST_WEIGHT, 0.0),
      no_nan_division=True,
    )

  def create(self, value_type, weight_type):
    with _without_unused_assertions():
      return self._factory.create(value_type, weight_type)


@contextlib.contextmanager
def _without_unused_assertions():
  """Drops what TensorFlow logs of assertions that nothing depends on.

  TFF's quantised sum makes one for every tensor, and each would be a dozen lines on the screen.
  """
  logger = logging.getLogger('tensorflow')
  is_of_use = lambda record: 'Object was never used' not in record.getMessage()
  logger.addFilter(is_of_use)
  try:
    yield
  finally:
    logger.removeFilter(is_of_use)


def build(bound: float) -> tff.aggregators.WeightedAggregationFactory:
  """The registry's entry point."""
  return SecureMean(bound)

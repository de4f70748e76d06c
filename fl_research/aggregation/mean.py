"""The weighted mean: Σ p_k Δ_k with p_k = weight_k / Σ weights; zero when all weights are zero."""

import tensorflow_federated as tff


def build() -> tff.aggregators.WeightedAggregationFactory:
  """The registry's entry point."""
  return tff.aggregators.MeanFactory(no_nan_division=True)

"""Zeroing: updates with an entry beyond a bound count as zero.

The first stage of TFF's robust aggregation (`tff.aggregators.zeroing_factory` and the defaults of
`tff.learning.robust_aggregator`), meant for corrupted rather than cunning clients:

    Δ_k ← Δ_k if max_j |Δ_kj| ≤ B else 0,    aggregate = Σ p_k Δ_k,   p_k = weight_k / Σ weights.

A zeroed client keeps its weight, so that the mean is pulled towards zero, as in TFF. The bound is

    B = multiplier * C + increment,

C being a running estimate of the quantile γ of the clients' largest entries (see
`fl_research.aggregation.norm_quantile`); the defaults are TFF's: C starts from 10 and moves with
η = ln 10 towards the 0.98-quantile, B = 2 C + 1. With γ = 0 the bound is C = `bound` for ever. A
bound that nothing exceeds gives the weighted mean.

Differences from the paper:
1. There is no paper; the rule is TFF's.
2. Clients that were left out, whose update is zero, do not count in the estimate of the quantile,
   and a round without clients leaves it as it is; TFF's becomes NaN.
"""

import tensorflow_federated as tff

from fl_research.aggregation import norm_quantile, summed
from fl_research.aggregation import sums as sums_lib


def build(
  bound: float,
  quantile: float,
  learning_rate: float,
  multiplier: float,
  increment: float,
  sums: sums_lib.Sums = sums_lib.CLEAR,
) -> summed.Summed:
  """The registry's entry point."""
  limit = bound
  if quantile:
    limit = norm_quantile.build(bound, quantile, learning_rate, multiplier, increment, sums)
  factory = tff.aggregators.zeroing_factory(
    limit, sums.mean(), zeroed_count_sum_factory=sums.count()
  )
  return summed.Summed(factory)

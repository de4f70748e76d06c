"""The coordinate-wise median.

Yin, Chen, Ramchandran, Bartlett 2018, "Byzantine-Robust Distributed Learning: Towards Optimal
Statistical Rates", definition 1 and algorithm 1 (option I): every coordinate of the aggregate is
the usual median of the n clients' values of that coordinate,

    Δ_j = med {Δ_1j, …, Δ_nj},

the mean of the two middle values where n is even. Clients count the same whatever their weights,
as in the paper, whose workers hold equally many examples; their weights only decide, by being
zero, who is left out. One client's aggregate is its own update, two clients' is their unweighted
mean. Fewer than half of the clients cannot move a coordinate beyond the values of the others.

Differences from the paper:
1. The paper takes the median of gradients, one step a round; here of whatever updates the clients
   send.
"""

from fl_research.aggregation import order_statistics, stacked


class Median(stacked.StackedRule):
  """Yin et al. 2018, definition 1 (see the module's docstring)."""

  uses_weights = False

  def combine(self, updates, weights):
    del weights
    return tuple(order_statistics.median(update) for update in updates)


def build() -> stacked.StackedRule:
  """The registry's entry point."""
  return Median()

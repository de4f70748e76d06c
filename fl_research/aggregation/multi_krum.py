"""Multi-Krum: the mean of the m updates that are nearest to the others.

Blanchard, El Mhamdi, Guerraoui, Stainer 2017, "Machine Learning with Adversaries: Byzantine
Tolerant Gradient Descent", section 5 ("m-Krum" in the first preprint): updates are scored as by
Krum (see `fl_research.aggregation.krum`), once, and the m with the lowest scores are averaged, each
counting the same. Domain: f as for Krum, 1 ≤ m ≤ n. m = 1 is Krum, m = n the unweighted mean.

Differences from the paper:
1. Versions that pick one update at a time and score the remaining ones anew can be found in public
   code; the paper's text scores once, and so do we.
2. The paper combines gradients, one step a round; here whatever updates the clients send.
"""

from fl_research.aggregation import krum, stacked


def build(f: int, m: int) -> stacked.StackedRule:
  """The registry's entry point."""
  return krum.Krum(f, m)

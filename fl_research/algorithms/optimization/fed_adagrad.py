"""FedAdagrad: the server steps as Adagrad does.

Reddi et al. 2021, "Adaptive Federated Optimization", algorithm 2 (see
`fl_research.algorithms.optimization.adaptive_server` for the whole of it), with the rule

    v_t = v_{t-1} + Δ_t².

The paper's experiments have β1 = 0, which is the default here.

Differences from the paper:
1. Clients weigh by their examples, where algorithm 2 averages uniformly; so does the authors' code.
2. v starts from τ² or more, as in algorithm 2; their code's tuned value was 0.
"""

from fl_research.algorithms.optimization import adaptive_server
from fl_research.round.method import Method


class FedAdagrad(adaptive_server.AdaptiveServer):
  """Reddi et al. 2021, algorithm 2, FedAdagrad (see the module's docstring)."""

  def second_moment(self, v, squared):
    return v + squared


def build(*, beta_1: float, tau: float, initial_accumulator: float) -> Method:
  """The registry's entry point; the arguments are those of `AdaptiveServer`."""
  return FedAdagrad('fedadagrad', beta_1=beta_1, tau=tau, initial_accumulator=initial_accumulator)

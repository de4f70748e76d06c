"""FedAdam: the server steps as Adam does, without bias correction.

Reddi et al. 2021, "Adaptive Federated Optimization", algorithm 2 (see
`fl_research.algorithms.optimization.adaptive_server` for the whole of it), with the rule

    v_t = β2 v_{t-1} + (1 - β2) Δ_t².

With β1 = β2 = 0, η_s = τ and τ → ∞ the step becomes Δ_t: FedAvg with a server rate of 1.

Differences from the paper:
1. Clients weigh by their examples, where algorithm 2 averages uniformly; so does the authors' code.
2. There is no bias correction, as in algorithm 2; their code used Keras's Adam, which has one.
3. v starts from τ² or more, as in algorithm 2; their code's starts from 0.
"""

from fl_research.algorithms.optimization import adaptive_server
from fl_research.round.method import Method


class FedAdam(adaptive_server.AdaptiveServer):
  """Reddi et al. 2021, algorithm 2, FedAdam (see the module's docstring).

  Args:
    beta_2: β2 in [0, 1).
    **others: those of `AdaptiveServer`.
  """

  def __init__(self, *, beta_2: float, **others):
    super().__init__('fedadam', **others)
    self._beta_2 = beta_2

  def second_moment(self, v, squared):
    return self._beta_2 * v + (1.0 - self._beta_2) * squared


def build(*, beta_1: float, beta_2: float, tau: float, initial_accumulator: float) -> Method:
  """The registry's entry point; the arguments are those of `FedAdam`."""
  return FedAdam(beta_1=beta_1, beta_2=beta_2, tau=tau, initial_accumulator=initial_accumulator)

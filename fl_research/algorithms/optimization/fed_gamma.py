"""FedGAMMA: FedSAM's gradients in SCAFFOLD's steps, so that flat minima are those of all clients.

Dai, Yang, Sun, Shen, Tian, Wang, Zhang 2023, "FedGAMMA: Federated Learning with Global
Sharpness-Aware Minimization", algorithm 1. A client of the round takes K steps

    ỹ_i = y_i + ρ g_i(y_i) / |g_i(y_i)|,    y_i = y_i - η_l (g_i(ỹ_i) - c_i + c),

both gradients on the same minibatch, with the variates c_i and c of SCAFFOLD, option II
(`fl_research.algorithms.optimization.scaffold`), and ỹ of FedSAM
(`fl_research.algorithms.optimization.fed_sam`). ρ = 0 is SCAFFOLD; without variates it would be
FedSAM. A step costs two gradients.

Differences from the paper:
1. As for SCAFFOLD, option II, and for FedSAM: numbers of steps that differ, client weights,
   restricted updates, what is sent besides; training metrics, a gradient of 0.
"""

from fl_research.algorithms.optimization import fed_sam, scaffold
from fl_research.round.method import Method


class FedGAMMA(scaffold.Scaffold):
  """Dai et al. 2023, algorithm 1 (see the module's docstring).

  Args:
    rho: ρ ≥ 0.
  """

  def __init__(self, rho: float):
    super().__init__('II')
    self._rho = rho

  def objective(self, client):
    return fed_sam.Sharpness(client.loss, self._rho)


def build(*, rho: float) -> Method:
  """The registry's entry point; the argument is that of `FedGAMMA`."""
  return FedGAMMA(rho)

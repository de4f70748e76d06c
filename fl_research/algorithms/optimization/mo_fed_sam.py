"""MoFedSAM: FedSAM's gradients, and the momentum of FedCM.

Qu, Li, Duan, Liu, Tang, Lu 2022, "Generalized Federated Learning via Sharpness Aware Minimization".
A local step is

    w_i = w_i - η_l (β g(w̃_i) + (1 - β) Δ),

with w̃ of FedSAM (`fl_research.algorithms.optimization.fed_sam`), and Δ, the direction of the last
round, of FedCM (`fl_research.algorithms.optimization.fed_cm`). β = 1 is FedSAM, ρ = 0 is FedCM with
α = β.

Differences from the paper:
1. As for FedSAM and FedCM: training metrics, a gradient of 0; numbers of steps that differ, client
   weights, compressed updates, rates of 0.
"""

from fl_research.algorithms.optimization import fed_cm, fed_sam
from fl_research.round.method import Method


class MoFedSAM(fed_cm.FedCM):
  """Qu et al. 2022, MoFedSAM (see the module's docstring).

  Args:
    rho: ρ ≥ 0.
    beta: β in (0, 1].
  """

  def __init__(self, rho: float, beta: float):
    super().__init__(beta)
    self._rho = rho

  def objective(self, client):
    return fed_sam.Sharpness(client.loss, self._rho)


def build(*, rho: float, beta: float) -> Method:
  """The registry's entry point; the arguments are those of `MoFedSAM`."""
  return MoFedSAM(rho, beta)

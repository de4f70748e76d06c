"""FedASAM: FedSAM whose neighbourhood is as wide in each direction as the weight is large.

Caldarola, Caputo, Ciccone 2022, "Improving Generalization in Federated Learning by Seeking Flat
Minima": FedSAM (see `fl_research.algorithms.optimization.fed_sam`) with the adaptive
sharpness of Kwon, Kim, Park, Choi 2021, "ASAM: Adaptive Sharpness-Aware Minimization for
Scale-Invariant Learning of Deep Neural Networks". With T = diag(|w| + ν), element by element,

    w̃ = w + ρ T² g(w) / |T g(w)|,    w = w - η g(w̃),

so that, but for ν, scaling a layer up and the next one down, which changes nothing of a network of
rectifiers, scales the neighbourhood alike. ρ = 0 is FedAvg; with ρ = ρ' / ν and ν → ∞ it is FedSAM
of ρ'.

Differences from the paper:
1. The authors' code has T for kernels only, and 1 for biases; here T is for all weights, as in the
   text of Kwon et al.
2. As for FedSAM: no cyclical rate, no averaged weights; what a gradient of 0 means.
"""

import tensorflow as tf

from fl_research.algorithms.optimization import fed_sam
from fl_research.round.method import Method
from fl_research.round.objective import Objective


class AdaptiveSharpness(fed_sam.Sharpness):
  """`fed_sam.Sharpness` with T = diag(|w| + ν).

  Args:
    objective: the other objective.
    rho: ρ ≥ 0.
    nu: ν ≥ 0.
  """

  def __init__(self, objective: Objective, rho: float, nu: float):
    super().__init__(objective, rho)
    self._nu = nu

  def stretch(self, weights):
    return tuple(tf.abs(w) + self._nu for w in weights)


class FedASAM(fed_sam.FedSAM):
  """Caldarola et al. 2022, FedASAM (see the module's docstring).

  Args:
    rho: ρ ≥ 0.
    nu: ν ≥ 0.
  """

  def __init__(self, rho: float, nu: float):
    super().__init__(rho)
    self._nu = nu

  def objective(self, loss):
    return AdaptiveSharpness(loss, self._rho, self._nu)


def build(*, rho: float, nu: float) -> Method:
  """The registry's entry point; the arguments are those of `FedASAM`."""
  return FedASAM(rho, nu)

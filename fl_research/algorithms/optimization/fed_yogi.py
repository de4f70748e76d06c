"""FedYogi: the server steps as Yogi does, without bias correction.

Reddi et al. 2021, "Adaptive Federated Optimization", algorithm 2 (see
`fl_research.algorithms.optimization.adaptive_server` for the whole of it), with the rule

    v_t = v_{t-1} - (1 - β2) Δ_t² sign(v_{t-1} - Δ_t²),

by which v grows and shrinks at a speed that depends on Δ_t alone, where Adam's can shrink at once.

Differences from the paper:
1. Clients weigh by their examples, where algorithm 2 averages uniformly; so does the authors' code.
2. There is no bias correction, as in algorithm 2; their code used TensorFlow Addons' Yogi, which
   has one.
3. v starts from τ² or more, as in algorithm 2; their code's tuned value was 0.
"""

import tensorflow as tf

from fl_research.algorithms.optimization import adaptive_server
from fl_research.round.method import Method


class FedYogi(adaptive_server.AdaptiveServer):
  """Reddi et al. 2021, algorithm 2, FedYogi (see the module's docstring).

  Args:
    beta_2: β2 in [0, 1).
    **others: those of `AdaptiveServer`.
  """

  def __init__(self, *, beta_2: float, **others):
    super().__init__('fedyogi', **others)
    self._beta_2 = beta_2

  def second_moment(self, v, squared):
    return v - (1.0 - self._beta_2) * squared * tf.sign(v - squared)


def build(*, beta_1: float, beta_2: float, tau: float, initial_accumulator: float) -> Method:
  """The registry's entry point; the arguments are those of `FedYogi`."""
  return FedYogi(beta_1=beta_1, beta_2=beta_2, tau=tau, initial_accumulator=initial_accumulator)

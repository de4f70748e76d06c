"""Lion: the signs of a momentum.

Chen, Liang, Huang, Real, Wang, Pham, Dong, Luong, Hsieh, Lu, Le 2023, "Symbolic Discovery of
Optimization Algorithms", algorithm 2. With the momentum m, 0 at first,

    w = w - η (sign(β_1 m + (1 - β_1) g) + λ w),    m = β_2 m + (1 - β_2) g.

Every weight moves by η, whatever the gradient, so that rates are three to ten times lower than
Adam's. β_1 is `--client_beta_1`, β_2 `--client_momentum_decay` (its 0.99 is not Adam's β_2), λ
`--client_step_weight_decay`; and `--server_…` likewise.

Differences from the paper:
1. None; at the server g is the negative update, which the paper does not speak of.
"""

import tensorflow as tf

from fl_research.optimizers import stateful


class Lion(stateful.StatefulOptimizer):
  """Chen et al. 2023, algorithm 2 (see the module's docstring).

  Args:
    learning_rate: η ≥ 0.
    beta_1, beta_2: in [0, 1).
    weight_decay: λ ≥ 0.
  """

  moments = ('momentum',)

  def __init__(self, learning_rate: float, beta_1: float, beta_2: float, weight_decay: float):
    super().__init__(learning_rate)
    self._beta_1 = beta_1
    self._beta_2 = beta_2
    self._weight_decay = weight_decay

  def step(self, count, weights, gradients, moments):
    momentum = moments['momentum']
    blend = lambda beta: tuple(
      beta * m + (1.0 - beta) * g for m, g in zip(momentum, gradients, strict=True)
    )
    signs = tuple(tf.sign(b) for b in blend(self._beta_1))
    if self._weight_decay:
      signs = tuple(s + self._weight_decay * w for s, w in zip(signs, weights, strict=True))
    return signs, {'momentum': blend(self._beta_2)}


def lion(
  learning_rate: float, beta_1: float, momentum_decay: float, step_weight_decay: float
) -> Lion:
  """The registry's entry point."""
  return Lion(learning_rate, beta_1, momentum_decay, step_weight_decay)

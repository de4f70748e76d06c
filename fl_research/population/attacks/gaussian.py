"""Gaussian noise: attackers send random numbers in place of their updates.

Blanchard, El Mhamdi, Guerraoui, Stainer 2017, "Machine Learning with Adversaries: Byzantine
Tolerant Gradient Descent", section 6: every coordinate is drawn from N(0, σ²), with σ = 200 in the
paper. Draws are a function of the run's seed, the round and the client alone. Domain: σ > 0.

Differences from the paper:
1. The paper replaces gradients; here it is updates.
"""

import tensorflow as tf

from fl_research.population.attacks import attack

# Sets these draws apart from all others that are made from the client's seed of the round.
_PURPOSE = 0x6761


class Gaussian(attack.Attack):
  """Blanchard et al. 2017, section 6 (see the module's docstring).

  Args:
    sigma: σ.
  """

  def __init__(self, sigma: float):
    self._sigma = sigma

  def poison_update(self, update, weight, seed):
    del weight
    fold_in = tf.random.experimental.stateless_fold_in
    base = fold_in(seed, _PURPOSE)
    return tuple(
      tf.random.stateless_normal(tensor.shape, fold_in(base, i), stddev=self._sigma)
      for i, tensor in enumerate(update)
    )


def build(target: attack.Target, sigma: float) -> attack.Attack:
  """The registry's entry point."""
  del target
  return Gaussian(sigma)

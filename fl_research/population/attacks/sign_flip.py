"""Sign flipping: attackers send their honest update backwards, and longer.

    Δ ← -s Δ

Li, Xu, Chen, Giannakis, Ling 2019, "RSA: Byzantine-Robust Stochastic Aggregation Methods for
Distributed Learning from Heterogeneous Datasets", has the attack among its experiments. A fraction
φ of attackers turns the mean of like-minded clients into (1 - φ - s φ) times itself: it moves
backwards from s > 1/φ - 1 on, which for 20 % of attackers is 4. Domain: s > 0.

Differences from the paper:
1. The paper flips what its workers send, gradients; here it is the update of local training.
2. s = 10 by default, so that a fifth of attackers turns the mean round.
"""

from fl_research.population.attacks import attack


class SignFlip(attack.Attack):
  """Sends the update times -s (see the module's docstring).

  Args:
    scale: s.
  """

  def __init__(self, scale: float):
    self._scale = scale

  def poison_update(self, update, weight, seed):
    del weight, seed
    return tuple(-self._scale * tensor for tensor in update)


def build(target: attack.Target, scale: float) -> attack.Attack:
  """The registry's entry point."""
  del target
  return SignFlip(scale)

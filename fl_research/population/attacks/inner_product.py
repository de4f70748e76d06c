"""Inner-product manipulation: attackers send the honest mean, backwards.

Xie, Koyejo, Gupta 2020, "Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product
Manipulation", section 4: with H the honest clients of the round, every attacker sends

    -ε (1 / |H|) Σ_{i in H} Δ_i,

so that the aggregate points away from the honest one while, for small ε, it lies so near to the
honest updates that distances do not betray it. The mean over equally weighted clients, m of n
attacking, turns round from ε > (n - m) / m on. Where nobody is honest attackers send zeros. Domain:
ε > 0.

Differences from the paper:
1. The paper's workers send gradients; here they send updates. Attackers know exactly what the
   honest clients send, the strongest case that the paper considers.
"""

import tensorflow as tf

from fl_research.population.attacks import attack


class InnerProduct(attack.Attack):
  """Xie et al. 2020, section 4 (see the module's docstring).

  Args:
    epsilon: ε.
  """

  colludes = True

  def __init__(self, epsilon: float):
    self._epsilon = epsilon

  def collude(self, updates, attacker):
    honest = attack.mean_of(updates, tf.logical_not(attacker))
    return attack.replace_rows(updates, attacker, tuple(-self._epsilon * h for h in honest))


def build(target: attack.Target, epsilon: float) -> attack.Attack:
  """The registry's entry point."""
  del target
  return InnerProduct(epsilon)

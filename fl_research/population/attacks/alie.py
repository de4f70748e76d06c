"""ALIE: attackers who stay within what honest clients might send.

Baruch, Baruch, Goldberg 2019, "A Little Is Enough: Circumventing Defenses For Distributed
Learning", algorithm 3. Of n clients m are attackers. They take mean μ_j and standard deviation σ_j
of every coordinate over the updates that they themselves have computed honestly, and all send

    μ + z σ,    z_max = Φ^{-1}((n - m - s) / (n - m)),    s = floor(n / 2 + 1) - m,

s being how many honest clients must be further away than they are for a majority to be theirs. A
single attacker, whose σ is zero, sends its honest update. The formula can give z ≤ 0: with 10
clients z is 0 for two attackers, so that nothing happens, and 0.18 for three. Domain of a given z:
above 0; 0 stands for z_max.

Differences from the paper:
1. The authors' code subtracts z σ from gradients, which for updates, that point the other way, is
   the sum above.
2. σ divides by m, as in their code; the paper does not say.
3. n and m are those of the round, where the paper's are fixed. Where the quantile does not exist or
   is infinite (half of the clients, or more, attack) s counts as 1, and z as 0 where that does not
   help.
"""

import tensorflow as tf

from fl_research.population.attacks import attack


def largest_deviation(count: tf.Tensor, attackers: tf.Tensor) -> tf.Tensor:
  """z_max for n clients of which m attack (both int32): float32."""
  supporters = tf.maximum(count // 2 + 1 - attackers, 1)
  honest = tf.cast(count - attackers, tf.float64)
  share = tf.math.divide_no_nan(honest - tf.cast(supporters, tf.float64), honest)
  deviation = tf.math.ndtri(share)
  usable = tf.math.is_finite(deviation)
  return tf.cast(tf.where(usable, deviation, tf.zeros_like(deviation)), tf.float32)


class Alie(attack.Attack):
  """Baruch et al. 2019, algorithm 3 (see the module's docstring).

  Args:
    z: z; 0 for z_max of each round.
  """

  colludes = True

  def __init__(self, z: float):
    self._z = z

  def collude(self, updates, attacker):
    mean = attack.mean_of(updates, attacker)
    squares = tuple(tf.square(u - m) for u, m in zip(updates, mean, strict=True))
    deviation = tuple(tf.sqrt(v) for v in attack.mean_of(squares, attacker))
    z = tf.constant(self._z)
    if not self._z:
      z = largest_deviation(tf.size(attacker), tf.reduce_sum(tf.cast(attacker, tf.int32)))
    sent = tuple(m + z * d for m, d in zip(mean, deviation, strict=True))
    return attack.replace_rows(updates, attacker, sent)


def build(target: attack.Target, z: float) -> attack.Attack:
  """The registry's entry point."""
  del target
  return Alie(z)

"""TERM among clients: each counts by the exponential of its loss.

Li, Beirami, Sanjabi, Smith 2021, "Tilted Empirical Risk Minimization". In place of the mean loss of
the clients the tilted one is minimised,

    F(w; t) = 1/t log(1/N Σ_k e^{t F_k(w)}),

whose gradient is the mean of the clients' gradients with weights e^{t F_k(w)}, normalised. So
client k trains from w as in FedAvg, and its update counts e^{t F_k(w)}, with F_k(w) the loss over
its examples before it trains. t > 0 asks for losses that are alike, and for t → ∞ for the largest
to be small; t < 0 has clients of high loss, attackers perhaps, count less. t = 0 is FedAvg with all
clients counting once; with one full-batch step it is gradient descent on the tilted loss.

Differences from the paper:
1. The paper tilts the losses of examples, or of groups of them, in gradient descent on one machine;
   a group is a client here, and its gradient an update.
2. The weights are normalised over the clients of a round; the paper's stochastic algorithm keeps a
   running estimate of the tilted loss.
3. F_k is over the examples of the round's first pass, with nothing dropped. A weight beyond the
   largest float leaves its client out.
"""

import tensorflow as tf

from fl_research.algorithms.optimization import fed_avg
from fl_research.round.method import Method


class Term(fed_avg.FedAvg):
  """Li et al. 2021, with clients as groups (see the module's docstring).

  Args:
    t: t, any finite number.
  """

  def __init__(self, t: float):
    self._t = t

  def work(self, client, message):
    weight = tf.exp(self._t * client.mean_loss(message))
    return super().work(client, message)._replace(weight=weight)


def build(*, t: float) -> Method:
  """The registry's entry point; the argument is that of `Term`."""
  return Term(t)

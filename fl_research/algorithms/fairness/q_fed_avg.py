"""q-FedAvg: clients whose loss is high count more.

Li, Sanjabi, Beirami, Smith 2020, "Fair Resource Allocation in Federated Learning", algorithm 2, for
the objective Σ_k p_k F_k(w)^{q+1} / (q + 1). Client k trains from w as in FedAvg, to w_k, and with
L = 1 / η, η being its rate,

    Δw_k = L (w - w_k),    Δ_k = F_k(w)^q Δw_k,    h_k = q F_k(w)^{q-1} |Δw_k|² + L F_k(w)^q,

F_k(w) being the loss over its examples before it trains. The server steps by

    w = w - η_s Σ_k Δ_k / Σ_k h_k.

h_k bounds the curvature of F_k^{q+1} / (q + 1), so that no rate has to be found for each q.
Clients send Δ_k / h_k, which is like FedAvg's update and no longer, and h_k as its weight: the
weighted mean is the step. q ≥ 0; q = 0 is FedAvg with all clients counting once. With one
full-batch step it is q-FedSGD, algorithm 1.

Differences from the paper:
1. The paper draws clients by p_k, their share of the examples, and counts those drawn once; here
   they are drawn as `--cohort_sampling` says, of which `by_size` comes close to the paper's.
2. F_k^q is (F_k + 1e-10)^q, as in the authors' code.
3. L is the inverse of the rate of the round, where the rate has a schedule, and h_k is divided by
   it, which cancels.
4. F_k is over the examples of the round's first pass, with nothing dropped.
5. Robust rules that look at no weights combine Δ_k / h_k.
"""

import tensorflow as tf

from fl_research.algorithms.optimization import fed_avg
from fl_research.round.method import Method
from fl_research.round.structures import squared_norm

_LEAST_LOSS = 1e-10


class QFedAvg(fed_avg.FedAvg):
  """Li et al. 2020, algorithm 2 (see the module's docstring).

  Args:
    q: q ≥ 0.
  """

  def __init__(self, q: float):
    self._q = q

  def work(self, client, message):
    loss = client.mean_loss(message) + _LEAST_LOSS
    reply = super().work(client, message)
    rate = client.optimizer_settings(message)['learning_rate']
    # |Δw_k|² / (L F_k) from w - w_k; where η = 0 there is no way.
    bend = tf.math.divide_no_nan(self._q * squared_norm(reply.update), rate * loss)
    update = tuple(u / (1.0 + bend) for u in reply.update)
    return reply._replace(update=update, weight=tf.pow(loss, self._q) * (1.0 + bend))


def build(*, q: float) -> Method:
  """The registry's entry point; the argument is that of `QFedAvg`."""
  return QFedAvg(q)

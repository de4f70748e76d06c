"""FedCM: every local step goes partly where the last round went.

Xu, Wang, Wang, Yao 2021, "FedCM: Federated Learning with Client-level Momentum". The
server sends with the global model x the direction Δ of the last round, the mean of all its local
steps, 0 at first. A client of the round takes K steps

    x_i = x_i - η_l (α g(x_i) + (1 - α) Δ),

and over the cohort

    Δ = mean(x - x_i) / (η_l K),    x = x + η_s mean(x_i - x).

Clients keep no state, so that few may take part in a round. α = 1 is FedAvg; 0 < α ≤ 1.
`--server_learning_rate` is η_s = η_g / (η_l K) in the paper's η_g: 1 averages the models.

Differences from the paper:
1. K is a client's own number of steps, of which the paper has the same for all: Δ is divided by the
   mean of η_l K, with the weights of the updates, so that it is a mean over steps. Each client
   sends its η_l K, one number more.
2. The paper averages uniformly, as is the default here; other client weights go into both means.
3. Of updates that are compressed, or combined by a robust rule, Δ is what came of that.
4. Where no way was made, η_l K being 0, Δ stays as it was.
"""

import tensorflow as tf

from fl_research.round.client import Client
from fl_research.round.method import Method, Reply
from fl_research.round.objective import Objective
from fl_research.round.structures import subtract


class FedCM(Method):
  """Xu et al. 2021 (see the module's docstring).

  Server state: Δ. Message: x and (1 - α) Δ.

  Args:
    alpha: α in (0, 1].
  """

  auxiliary_weighting = 'update'

  def __init__(self, alpha: float):
    self._alpha = alpha

  def objective(self, client: Client) -> Objective:
    """What g is the gradient of."""
    return client.loss

  def initial_own(self, weights):
    return [tf.zeros_like(w) for w in weights]

  def message(self, server):
    return server.weights, [(1.0 - self._alpha) * c for c in server.own]

  def work(self, client, message):
    weights, pull = message
    objective = self.objective(client).times(self._alpha).plus_constant(pull)
    trained = client.train(weights, objective=objective)
    rate = client.optimizer_settings(weights)['learning_rate']
    way = rate * tf.cast(trained.num_steps, tf.float32)
    return Reply(subtract(trained.weights, weights), client.state, trained, auxiliary=way)

  def finish(self, server, combined):
    way = combined.auxiliary
    renewed = lambda last, d: tf.where(way > 0.0, -tf.math.divide_no_nan(d, way), last)
    common = [renewed(last, d) for last, d in zip(server.own, combined.update, strict=True)]
    return super().finish(server, combined)._replace(own=common)


def build(*, alpha: float) -> Method:
  """The registry's entry point; the argument is that of `FedCM`."""
  return FedCM(alpha)

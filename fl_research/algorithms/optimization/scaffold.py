"""SCAFFOLD: control variates take the drift out of local steps.

Karimireddy, Kale, Mohri, Reddi, Stich, Suresh 2020, "SCAFFOLD: Stochastic Controlled Averaging for
Federated Learning", algorithm 1. The server keeps a variate c, every client i one c_i, all zero at
the start. A client of the round takes K steps from the global model x,

    y_i = y_i - η_l (g_i(y_i) - c_i + c),

and renews its variate by option I or II,

    I:   c_i⁺ = g_i(x), the gradient at the global model over one pass of the client's examples
    II:  c_i⁺ = c_i - c + (x - y_i) / (K η_l).

It sends y_i - x and the change c_i⁺ - c_i; over the cohort S, of N clients in all,

    x = x + η_g mean(y_i - x),    c = c + |S| / N mean(c_i⁺ - c_i).

η_g is `--server_learning_rate`. Both means are uniform in the paper, and by default here; with
other client weights both use them, so that under full participation the weighted objective is
minimised. With one full-batch step and all clients taking part every round it is FedSGD of rate
η_g η_l, as the corrections cancel.

Option II presumes plain SGD on the clients. Where η_l = 0, which leaves it undefined, variates stay
as they are.

Differences from the paper:
1. K is a client's own number of steps; the paper has the same K for all.
2. Option I takes the gradient over the batches of one pass, in training mode, where dropout draws
   anew.
3. Where a structured update restricts the steps to a subspace with projection P, option II is
   c_i - P c + (x - y_i) / (K η_l): of what was not trained nothing new is known, and c_i stays. The
   paper's rule, P = I, would subtract c from it in every round.
4. The change of the variate is a second tensor for each weight, sent in float32 and counted in
   `bytes_up`: compressors and attacks act on the update only, and robust rules combine updates
   only, the change being averaged. The paper has none of these.
"""

import tensorflow as tf

from fl_research.round.client import Client
from fl_research.round.method import Method, Reply
from fl_research.round.objective import Objective
from fl_research.round.structures import choose, subtract

OPTIONS = ('I', 'II')
"""The ways of renewing a client's variate."""


class Scaffold(Method):
  """Karimireddy et al. 2020, algorithm 1 (see the module's docstring).

  Server state: c. Client state: c_i. Message: x and c.

  Args:
    option: one of `OPTIONS`.
  """

  auxiliary_weighting = 'update'

  def __init__(self, option: str):
    self._option = option

  def bind(self, federation):
    federation.require_population('SCAFFOLD')
    return super().bind(federation)

  def objective(self, client: Client) -> Objective:
    """What g is the gradient of."""
    return client.loss

  def initial_own(self, weights):
    return [tf.zeros_like(w) for w in weights]

  def initial_client_state(self, weights):
    return [tf.zeros_like(w) for w in weights]

  def message(self, server):
    return server.weights, server.own

  def work(self, client, message):
    weights, common = message
    own = tuple(client.state)
    correction = subtract(common, own)
    objective = self.objective(client).plus_constant(correction)
    trained = client.train(weights, objective=objective)
    delta = subtract(trained.weights, weights)
    if self._option == 'I':
      renewed, _ = client.gradient(weights, one_pass=True)
    else:
      renewed = option_ii(client, common, own, delta, trained.num_steps)
    change = list(subtract(renewed, own))
    return Reply(delta, list(renewed), trained, auxiliary=change)

  def finish(self, server, combined):
    share = combined.participants / self.federation.population_size
    variate = [c + share * d for c, d in zip(server.own, combined.auxiliary, strict=True)]
    return super().finish(server, combined)._replace(own=variate)


def option_ii(client, common, own, delta, num_steps) -> tuple[tf.Tensor, ...]:
  """The renewed variate: c_i - P c + (x - y_i) / (K η_l), and c_i where no way was made."""
  rate = client.optimizer_settings(delta)['learning_rate']
  way = tf.cast(num_steps, tf.float32) * rate
  common = client.trainable_part(common)
  parts = zip(own, common, delta, strict=True)
  renewed = tuple(o - c - tf.math.divide_no_nan(d, way) for o, c, d in parts)
  return choose(way > 0.0, renewed, tuple(own))


def build(*, option: str) -> Method:
  """The registry's entry point; the argument is that of `Scaffold`."""
  return Scaffold(option)

"""Scaffnew, or ProxSkip for federated learning: control variates that need no second trip.

Mishchenko, Malinovsky, Stich, Richtárik 2022, "ProxSkip: Yes! Local Gradient Steps Provably Lead to
Communication Acceleration! Finally!", algorithm 2. Every client i has a variate h_i, 0 at first,
and its steps from the global model x are

    x_i = x_i - γ (g_i(x_i) - h_i).

After a step all of them meet with probability p; they then take the mean of their models as the
next x, and each renews

    h_i = h_i + p / γ (x - x_i).

Here a round is what lies between two meetings, of K steps, and p is 1 / K. So a client keeps x_i
and γ K until it knows the next x, which comes with its next round. Nothing but models goes either
way. With one step it is FedSGD of rate γ as far as the global model is concerned, for variates add
up to zero over clients. With a rate of the server's they would not, so there is none.

Differences from the paper:
1. Whether clients meet after a step is drawn in the paper; here it is the end of the round's
   batches, and K a client's own number of steps, where the paper has the same for all.
2. The paper has all clients in every round, and so should a run (`--clients_per_round`): fewer are
   refused where it is known how many there are. A client that fails to take part in a round renews
   its variate by the model that it next comes back to.
3. The paper's mean is uniform, as is the default here.
4. Where γ K was 0, the variate stays as it is.
5. Of updates that are compressed, or combined by a robust rule, x is what came of that, and
   variates no longer add up to zero.
"""

import collections

import tensorflow as tf

from fl_research.round.method import Method, Reply
from fl_research.round.structures import subtract


class Scaffnew(Method):
  """Mishchenko et al. 2022, algorithm 2 (see the module's docstring).

  Client state: h_i as it was in the client's last round, x_i, and γ K.

  Raises:
    UsageError: not all clients take part in a round.
  """

  def bind(self, federation):
    federation.require_everybody('scaffnew')
    return super().bind(federation)

  def initial_client_state(self, weights):
    return collections.OrderedDict(
      variate=[tf.zeros_like(w) for w in weights], model=list(weights), way=tf.constant(0.0)
    )

  def work(self, client, message):
    before = client.state
    renewed = lambda h, x, own: h + tf.math.divide_no_nan(x - own, before['way'])
    variate = list(map(renewed, before['variate'], message, before['model']))
    back = tuple(-h for h in variate)
    trained = client.train(message, objective=client.loss.plus_constant(back))
    rate = client.optimizer_settings(message)['learning_rate']
    state = collections.OrderedDict(
      variate=variate,
      model=list(trained.weights),
      way=rate * tf.cast(trained.num_steps, tf.float32),
    )
    return Reply(subtract(trained.weights, message), state, trained)

  def finish(self, server, combined):
    weights = tuple(w + u for w, u in zip(server.weights, combined.update, strict=True))
    return server._replace(weights=weights)


def build() -> Method:
  """The registry's entry point."""
  return Scaffnew()

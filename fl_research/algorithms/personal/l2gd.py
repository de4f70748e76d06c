"""L2GD: models of the clients' own, which meetings pull towards their mean.

Hanzely, Richtárik 2020, "Federated Learning of a Mixture of Global and Local Models", algorithm 1.
Every client i has a model x_i of its own; together, x̄ being their mean, they descend

    mean_i ( F_i(x_i) + λ / 2 |x_i - x̄|² ).

After each step all of them meet with probability p, else each makes a step of its own:

    x_i = x_i - η g_i(x_i),    η = α / (n (1 - p))
    x_i = x_i + θ (x̄ - x_i),   θ = α λ / (n p)      at a meeting.

Here a round is what lies between two meetings, of K steps, so p is 1 / (K + 1) and λ = θ / (η K).
Meeting leaves x̄ as it is. So a client hands in x_i after its steps, and is pulled when it comes to
know the mean, which is when its next round begins, or when it is asked to predict. The paper's best
p and α give θ = 1/2 whatever λ is; λ then says how seldom to meet. With θ = 1 it is FedAvg, with
θ = 0 each client trains alone. What is sent is what FedAvg sends.

`--l2gd_pull` is θ. The global model x̄ is evaluated beside the clients' own, as `global/`. Rates of
the server's have no place, for x̄ is the mean of the clients' models.

Differences from the paper:
1. Whether clients meet after a step is drawn in the paper, so that they may meet twice in a row;
   here it is the end of the round's batches, and K a client's own number of steps, where the paper
   has the same for all. With unequal K the objective has a λ for each client.
2. Steps are along gradients of minibatches; the paper's algorithm 1 takes those of all examples.
3. All clients take part in every round, as in the paper: fewer are refused where it is known how
   many there are. A client that fails to take part in a round keeps x_i, and is missing in x̄.
4. The paper's mean is uniform, as is the default here.
5. Of updates that are compressed, or combined by a robust rule, x̄ is what came of that.
"""

import tensorflow as tf

from fl_research.round.client import Client
from fl_research.round.method import Method, Reply
from fl_research.round.structures import subtract, Weights


class L2GD(Method):
  """Hanzely, Richtárik 2020, algorithm 1 (see the module's docstring). State: x_i as handed in.

  Args:
    pull: θ in [0, 1].

  Raises:
    UsageError: not all clients take part in a round.
  """

  personal = True

  def __init__(self, pull: float):
    self._pull = pull

  def bind(self, federation):
    federation.require_everybody('l2gd')
    return super().bind(federation)

  def initial_client_state(self, weights):
    return list(weights)

  def work(self, client, message):
    trained = client.train(self._pulled(client, message))
    return Reply(subtract(trained.weights, message), list(trained.weights), trained)

  def finish(self, server, combined):
    weights = tuple(w + u for w, u in zip(server.weights, combined.update, strict=True))
    return server._replace(weights=weights)

  def predictor(self, server, client):
    return self.predict(self._pulled(client, server.weights))

  def _pulled(self, client: Client, mean: Weights) -> Weights:
    """x_i + θ (x̄ - x_i)."""
    towards = lambda own, shared: own + self._pull * (shared - own)
    return tuple(tf.nest.map_structure(towards, tuple(client.state), tuple(mean)))


def build(*, pull: float) -> Method:
  """The registry's entry point; the argument is that of `L2GD`."""
  return L2GD(pull)

"""AFL: the model is trained for whatever mixture of clients is worst for it.

Mohri, Sivek, Suresh 2019, "Agnostic Federated Learning", algorithm Stochastic-AFL, for

    min_w max_λ Σ_k λ_k F_k(w),    λ in the simplex over the N clients.

The server keeps λ, at first 1/N each, and sends it with w. The clients of the round train from w as
in FedAvg, and their updates count λ_k; with S the round's clients,

    w = w + η_s Σ_{k in S} λ_k Δ_k / Σ_{k in S} λ_k
    λ = the projection of λ + γ Σ_{k in S} F_k(w) e_k,

w being the one that was sent, e_k the k-th unit vector, and the projection the nearest point of the
simplex. γ is `--afl_mixture_learning_rate`; γ = 0 is FedAvg with all clients counting once. The
largest λ_k is in `metrics.csv`.

A client's share can fall to 0; it then trains for nothing until its loss, or the fall of others',
brings it back, and where that is so of all clients of a round the model stays as it is.

Differences from the paper:
1. The paper takes one stochastic gradient step, of all clients in every round; with one full-batch
   step (`--client_batch_size=full`) and the whole population drawn that is what happens here, and
   the loss is over all examples. More steps, and fewer clients, go beyond it.
2. The paper gives the mean of all models, which its guarantee is about; here it is the last one.
3. The paper allows λ to be held to a part of the simplex; here it is all of it.
4. λ goes to every client, and F_k comes back in a vector of N numbers, so that the server needs
   only sums; both are counted in the bytes. With large populations they outweigh the model.
5. F_k is over the examples of the round's first pass, with nothing dropped.
"""

import tensorflow as tf

from fl_research.algorithms.optimization import fed_avg
from fl_research.round.method import Method


def projected(vector: tf.Tensor) -> tf.Tensor:
  """The point of the simplex nearest to a vector, float32 [n] (Duchi et al. 2008, figure 1)."""
  descending = tf.sort(vector, direction='DESCENDING')
  count = tf.range(1.0, tf.size(vector, tf.float32) + 0.5)
  excess = (tf.cumsum(descending) - 1.0) / count
  positive = tf.reduce_sum(tf.cast(descending > excess, tf.int32))
  return tf.maximum(vector - excess[positive - 1], 0.0)


class AFL(fed_avg.FedAvg):
  """Mohri et al. 2019 (see the module's docstring).

  Server state: λ. Message: w and λ.

  Args:
    mixture_learning_rate: γ ≥ 0.
  """

  def __init__(self, mixture_learning_rate: float):
    self._rate = mixture_learning_rate

  def bind(self, federation):
    federation.require_population('AFL')
    return super().bind(federation)

  def initial_own(self, weights):
    clients = tf.ones([self.federation.population_size])
    return (clients / tf.reduce_sum(clients),)

  def message(self, server):
    return server.weights, server.own

  def work(self, client, message):
    weights, (mixture,) = message
    position = client.data['client']
    loss = client.mean_loss(weights) * tf.one_hot(position, self.federation.population_size)
    reply = super().work(client, weights)
    return reply._replace(auxiliary=loss, weight=tf.gather(mixture, position))

  def finish(self, server, combined):
    (mixture,) = server.own
    losses = combined.participants * combined.auxiliary
    own = (projected(mixture + self._rate * losses),)
    return super().finish(server, combined)._replace(own=own)

  def measures(self, server):
    return {'largest_share': tf.reduce_max(server.own[0])}


def build(*, mixture_learning_rate: float) -> Method:
  """The registry's entry point; the argument is that of `AFL`."""
  return AFL(mixture_learning_rate)

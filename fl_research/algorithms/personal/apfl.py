"""APFL: what a client uses is a mixture of a model of its own and of the global one.

Deng, Kamani, Mahdavi 2020, "Adaptive Personalized Federated Learning", algorithm 1. Client i keeps
a model v_i and a share α_i. It uses

    v̄_i = α_i v_i + (1 - α_i) w,

and in a round it takes, from w_i = w, steps on the same minibatches for both models,

    w_i = w_i - η ∇f_i(w_i),    v_i = v_i - η α_i ∇f_i(α_i v_i + (1 - α_i) w_i),

the latter being the gradient of f_i(v̄_i) by v_i, with w_i as it was before the step. The server
averages the w_i as in FedAvg. With `--apfl_adaptive` α_i moves, too, in the first step of a round,

    α_i = α_i - η <v_i - w_i, ∇f_i(v̄_i)>, held to [0, 1].

α = 0 is FedAvg for everybody, α = 1 each client alone beside FedAvg; the global model
is FedAvg's in any case. What is reported as training loss is that of v̄_i.

Differences from the paper:
1. Algorithm 1 keeps an average of the last models; here it is the last one.
2. The authors' code mixes what the two models answer, and not their weights; the same for linear
   models only.
3. Between its rounds a client mixes with the global model, where the paper writes its own w_i.
4. A client that has never taken part has the initial weights as its own.
"""

import collections
from typing import Any

import tensorflow as tf

from fl_research.algorithms.optimization import fed_avg
from fl_research.round.method import Method, Reply
from fl_research.round.objective import Objective
from fl_research.round.structures import subtract, Weights


def mixture(own: Weights, others: Weights, share: Any) -> Weights:
  """share own + (1 - share) others."""
  return tuple(share * v + (1.0 - share) * w for v, w in zip(own, others, strict=True))


class Beside(Objective):
  """Another objective, beside which a model of the client's own is trained, and carried.

  Args:
    objective: the other objective, which carries nothing.
    own: v_i.
    share: α_i, float32 [].
    rate: η.
    adaptive: whether α_i moves in the first step.
  """

  def __init__(
    self, objective: Objective, own: Weights, share: tf.Tensor, rate: tf.Tensor, adaptive: bool
  ):
    self._objective = objective
    self._start = (tuple(own), share, tf.constant(adaptive))
    self._rate = rate

  def initial_carry(self, weights):
    return self._start

  def gradient(self, weights, batch, seed, carry):
    own, share, moves = carry
    found = self._objective.gradient(weights, batch, seed, ())
    there = self._objective.gradient(mixture(own, weights, share), batch, seed, ())
    renewed = tuple(v - self._rate * share * g for v, g in zip(own, there.gradient, strict=True))
    pairs = zip(subtract(own, weights), there.gradient, strict=True)
    slope = tf.add_n([tf.reduce_sum(d * g) for d, g in pairs])
    moved = tf.clip_by_value(share - self._rate * slope, 0.0, 1.0)
    carry = (renewed, tf.where(moves, moved, share), tf.constant(False))
    return found._replace(columns=there.columns, carry=carry)


class APFL(fed_avg.FedAvg):
  """Deng et al. 2020, algorithm 1 (see the module's docstring). Client state: v_i and α_i.

  Args:
    alpha: α_i at first, in [0, 1].
    adaptive: whether α_i moves.
  """

  personal = True

  def __init__(self, alpha: float, adaptive: bool):
    self._alpha = alpha
    self._adaptive = adaptive

  def initial_client_state(self, weights):
    return collections.OrderedDict(model=list(weights), share=tf.constant(self._alpha))

  def work(self, client, message):
    rate = client.optimizer_settings(message)['learning_rate']
    own, share = client.state['model'], client.state['share']
    objective = Beside(client.loss, own, share, rate, self._adaptive)
    trained = client.train(message, objective=objective)
    own, share, _ = trained.carry
    return Reply(
      subtract(trained.weights, message),
      collections.OrderedDict(model=list(own), share=share),
      trained,
      measures={'own_share': share},
    )

  def predictor(self, server, client):
    state = client.state
    return self.predict(mixture(state['model'], server.weights, state['share']))


def build(*, alpha: float, adaptive: bool) -> Method:
  """The registry's entry point; the arguments are those of `APFL`."""
  return APFL(alpha, adaptive)

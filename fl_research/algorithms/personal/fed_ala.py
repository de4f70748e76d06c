"""FedALA: a client takes of the global model what helps it, number by number, before it trains.

Zhang, Hua, Wang, Song, Xue, Ma, Guan 2023, "FedALA: Adaptive Local Aggregation for Personalized
Federated Learning", algorithm 1. Client i keeps its last model θ_i and, for each number of some
layers (`fedala_layers`, the last one by default), a share w in [0, 1], 1 at first. When it is given
the global model θ, its training begins from θ in the other layers, and in these from

    θ_i + w (θ - θ_i),    w = clip(w - η g (θ - θ_i), 0, 1),

w having been learnt on its examples, with g the gradient of the loss there: over several passes
(`fedala_first_passes`) the first time, and one pass in every later round. Then it trains as in
FedAvg, and what it has trained is its own model, which it uses, and sends. In its first round it
has no model of its own, and begins from θ; so with η = 0 all is FedAvg. A pass costs a gradient for
each of its batches.

Differences from the paper:
1. Shares are learnt on all examples of the round's first pass, where the authors' code draws 80 %.
2. The first time ends after a number of passes. In the paper it ends once losses stay alike.
"""

import collections

import tensorflow as tf

from fl_research.algorithms.personal import private_layers
from fl_research.round import minibatches
from fl_research.round.client import Client
from fl_research.round.method import Method, Reply
from fl_research.round.objective import loss_gradient
from fl_research.round.structures import subtract, Weights


class FedALA(Method):
  """Zhang et al. 2023, algorithm 1 (see the module's docstring).

  Client state: θ_i, w of the layers that are mixed, and how often it has trained, up to 2.

  Args:
    layers: which are mixed (see `private_layers.is_private`).
    mixture_learning_rate: η ≥ 0.
    first_passes: passes over the examples that learn w for the first time.
  """

  personal = True

  def __init__(self, layers: str, mixture_learning_rate: float, first_passes: int):
    self._layers = layers
    self._rate = mixture_learning_rate
    self._first_passes = first_passes

  def _mixed_layers(self) -> list[int]:
    names = self.federation.model.weight_names
    chosen = private_layers.is_private('fedala_layers', self._layers, names)
    return [place for place, mixed in enumerate(chosen) if mixed]

  def initial_client_state(self, weights):
    return collections.OrderedDict(
      model=list(weights),
      shares=[tf.ones_like(weights[place]) for place in self._mixed_layers()],
      times=tf.constant(0),
    )

  def work(self, client, message):
    shares = self._learnt(client, message)
    start = self._start(client, message, shares)
    trained = client.train(start)
    state = collections.OrderedDict(
      model=list(trained.weights), shares=shares, times=tf.minimum(client.state['times'] + 1, 2)
    )
    return Reply(subtract(trained.weights, message), state, trained)

  def _start(self, client: Client, message: Weights, shares: list[tf.Tensor]) -> Weights:
    """Where training begins."""
    own, start = client.state['model'], list(message)
    for place, share in zip(self._mixed_layers(), shares, strict=True):
      mixed = own[place] + share * (message[place] - own[place])
      start[place] = tf.where(client.state['times'] > 0, mixed, message[place])
    return tuple(start)

  def _learnt(self, client: Client, message: Weights) -> list[tf.Tensor]:
    """The shares of this round."""
    first = minibatches.first_pass(client.data)
    batches, of_a_pass = minibatches.Minibatches(first), minibatches.num_steps(first)
    passes = tf.gather([0, self._first_passes, 1], client.state['times'])
    away = subtract(message, client.state['model'])

    def step(index, shares):
      weights = self._start(client, message, shares)
      gradient, _ = loss_gradient(client.model, weights, batches[index % of_a_pass], None)
      moved = [
        tf.clip_by_value(share - self._rate * gradient[place] * away[place], 0.0, 1.0)
        for place, share in zip(self._mixed_layers(), shares, strict=True)
      ]
      return index + 1, moved

    _, shares = tf.while_loop(
      lambda index, _: index < passes * of_a_pass,
      step,
      (tf.constant(0), list(client.state['shares'])),
      parallel_iterations=1,
    )
    return shares

  def predictor(self, server, client):
    trained = client.state['times'] > 0
    pairs = zip(client.state['model'], server.weights, strict=True)
    return self.predict(tuple(tf.where(trained, own, common) for own, common in pairs))


def build(*, layers: str, mixture_learning_rate: float, first_passes: int) -> Method:
  """The registry's entry point; the arguments are those of `FedALA`."""
  return FedALA(layers, mixture_learning_rate, first_passes)

"""IFCA: several global models, of which each client trains the one that suits it best.

Ghosh, Chung, Yin, Ramchandran 2020, "An Efficient Framework for Clustered Federated Learning",
algorithm 1. The server sends K models θ_1, …, θ_K. Client i finds

    j = argmin_j F_i(θ_j)

over its examples, and of the two options of the algorithm

    models      trains θ_j as in FedAvg, to θ'_i;   θ_j = θ_j + η_s mean_{C_j} (θ'_i - θ_j)
    gradients   takes g_i = ∇F_i(θ_j);              θ_j = θ_j - η_s / M Σ_{C_j} g_i,

C_j being the clients of the round that chose j, and M the number of all of them. A model that
nobody chose stays as it is. What a client uses is the model of least loss over its own training
examples, so that clients keep nothing, and new ones choose as others do. `metrics.csv` says which
share of the round's clients chose which model; θ_1 is saved as `model`, the others as `model_2`, ….

With one model it is FedAvg, or FedSGD; both means are uniform by default. θ_1 starts from the run's
initial weights. The others start from the same numbers, those of each tensor in an order of its
own, drawn from the run's seed: where all numbers of a tensor are drawn alike they are what another
seed might have given.

Differences from the paper:
1. The paper draws all initial models anew.
2. The server needs only sums: a client sends K updates, all but one of them zero, and K numbers
   that say which. All are counted in the bytes, of which the paper's client sends 1 / K, if the
   server may see who chooses what.
3. Rules that need more than sums are refused: they would take clients of other clusters for liars.
4. The paper's weight sharing, where clusters have layers in common, is not here.
5. F_i is over the examples of the round's first pass, with nothing dropped.
"""

import tensorflow as tf

from fl_research import random_streams
from fl_research.round.client import Client
from fl_research.round.method import Method, Reply, Server
from fl_research.round.structures import subtract, Weights


class IFCA(Method):
  """Ghosh et al. 2020, algorithm 1 (see the module's docstring).

  The server's weights are those of a model with one more axis in front, of K.

  Args:
    clusters: K ≥ 1.
    averaging: 'models' or 'gradients'.
  """

  auxiliary_weighting = 'update'
  personal = True
  global_model = False

  def __init__(self, clusters: int, averaging: str):
    self._clusters = clusters
    self._averaging = averaging

  def initial(self):
    models = [self.federation.initial_weights()]
    models += [self._rearranged(models[0], number) for number in range(1, self._clusters)]
    weights = tuple(tf.stack(parts) for parts in zip(*models, strict=True))
    specs = tuple(tf.TensorSpec(w.shape, w.dtype) for w in weights)
    return Server(weights, (), self.federation.server_optimizer.initialize(specs))

  def _rearranged(self, weights: Weights, number: int) -> Weights:
    """The numbers of each tensor in another order."""
    seeds = [
      random_streams.stateless_seed(self.federation.seed, 'ifca', number, position)
      for position in range(len(weights))
    ]
    shuffle = tf.random.experimental.stateless_shuffle
    return tuple(
      tf.reshape(shuffle(tf.reshape(w, [-1]), seed), w.shape)
      for w, seed in zip(weights, seeds, strict=True)
    )

  def work(self, client, message):
    choice = self._choice(client, message)
    model = _model(message, choice)
    if self._averaging == 'models':
      trained = client.train(model)
      update = subtract(trained.weights, model)
    else:
      gradient, trained = client.gradient(model)
      update = tuple(-g for g in gradient)
    chosen = tf.one_hot(choice, self._clusters)
    return Reply(
      tuple(tf.tensordot(chosen, u, axes=0) for u in update),
      client.state,
      trained,
      auxiliary=chosen,
      measures={f'share_{number + 1}': chosen[number] for number in range(self._clusters)},
    )

  def finish(self, server, combined):
    direction = combined.update
    if self._averaging == 'models':
      shares = combined.auxiliary
      over = lambda u: tf.reshape(shares, [-1] + [1] * (len(u.shape) - 1))
      direction = tuple(tf.math.divide_no_nan(u, over(u)) for u in direction)
    return self.step(server, direction)

  def models(self, weights):
    names = ['model', *(f'model_{number + 1}' for number in range(1, self._clusters))]
    return {name: [w[k] for w in weights] for k, name in enumerate(names)}

  def predictor(self, server, client):
    return self.predict(_model(server.weights, self._choice(client, server.weights)))

  def _choice(self, client: Client, weights: Weights) -> tf.Tensor:
    """j, int64 []."""
    losses = [client.mean_loss(_model(weights, number)) for number in range(self._clusters)]
    return tf.argmin(tf.stack(losses))


def _model(weights: Weights, number: tf.Tensor) -> Weights:
  """One of the models, by its number from 0 on."""
  return tuple(tf.gather(w, number) for w in weights)


def build(*, clusters: int, averaging: str) -> Method:
  """The registry's entry point; the arguments are those of `IFCA`."""
  return IFCA(clusters, averaging)

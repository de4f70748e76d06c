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
share of the round's clients chose which model, and `groups/…`, where clients are of groups that the
data know (`--rotations`, `--renderings`, `--label_namings`), whether they found out who belongs to
whom; θ_1 is saved as `model`, the others as `model_2`, ….

With one model it is FedAvg, or FedSGD; both means are uniform by default. How the models start,
`several_models` says. With `models` and `--client_weighting=num_examples` it is the HypCluster of
Mansour, Mohri, Ro, Suresh 2020, "Three Approaches for Personalization with Applications to
Federated Learning", but that HypCluster's clients choose by examples set apart from those that they
train on.

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

from fl_research.algorithms.clusters import several_models
from fl_research.algorithms.clusters.several_models import model_of
from fl_research.round.client import Client
from fl_research.round.method import Method, Reply
from fl_research.round.structures import subtract, Weights


class IFCA(several_models.OneOfSeveral):
  """Ghosh et al. 2020, algorithm 1 (see the module's docstring).

  Args:
    clusters: K ≥ 1.
    averaging: 'models' or 'gradients'.
  """

  auxiliary_weighting = 'update'

  def __init__(self, clusters: int, averaging: str):
    super().__init__('ifca', clusters)
    self._averaging = averaging

  def work(self, client, message):
    choice = self._least_loss(client, message)
    model = model_of(message, choice)
    if self._averaging == 'models':
      trained = client.train(model)
      update = subtract(trained.weights, model)
    else:
      gradient, trained = client.gradient(model)
      update = tuple(-g for g in gradient)
    chosen = tf.one_hot(choice, self.count)
    return Reply(
      tuple(tf.tensordot(chosen, u, axes=0) for u in update),
      client.state,
      trained,
      auxiliary=chosen,
      measures={f'share_{number + 1}': chosen[number] for number in range(self.count)},
    )

  def finish(self, server, combined):
    direction = combined.update
    if self._averaging == 'models':
      shares = combined.auxiliary
      over = lambda u: tf.reshape(shares, [-1] + [1] * (len(u.shape) - 1))
      direction = tuple(tf.math.divide_no_nan(u, over(u)) for u in direction)
    return self.step(server, direction)

  def choice(self, server, client):
    return self._least_loss(client, server.weights)

  def _least_loss(self, client: Client, weights: Weights) -> tf.Tensor:
    """j, int64 []."""
    losses = [client.mean_loss(model_of(weights, number)) for number in range(self.count)]
    return tf.argmin(tf.stack(losses))


def build(*, clusters: int, averaging: str) -> Method:
  """The registry's entry point; the arguments are those of `IFCA`."""
  return IFCA(clusters, averaging)

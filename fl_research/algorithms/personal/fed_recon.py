"""FedRecon: what is a client's own is made anew in every round, and kept by nobody.

Singhal, Sidahmed, Garrett, Wu, Rush, Prakash 2021, "Federated Reconstruction: Partially Local
Federated Learning", algorithm 1. A model is a global part g and a local one l. A client of the
cohort cuts its examples in two, reconstructs l on the support set S with g held fixed, then trains
g on the query set Q with that l held fixed, and sends the delta of g:

    l <- l_0;      l <- l - η_r ∇_l F_S(g_t, l)       over S, k_r passes
    g <- g_t;      g <- g - η ∇_g F_Q(g, l)           over Q, E passes;    sends g - g_t

So a client keeps nothing, may be new in every round, and one that has never trained has a model as
good as the others': whoever predicts reconstructs l first, from the examples that it has.

`--fedrecon_private_layers` names the layers of l (for `matrix_factorization`
`user_factors,user_bias`), `--fedrecon_support_fraction` the share of S,
`--fedrecon_reconstruction_epochs` is k_r, `--fedrecon_reconstruction_factor` η_r / η with plain
SGD; `--client_epochs_per_round` is E. Training loss is that on Q, after reconstruction; evaluation
reconstructs on the client's training examples and is tested on its test examples. Bytes are those
of g. Without a support set (0) l stays l_0, which is FedBABU (`fed_babu`); where no layer is local
besides, it is FedAvg.

Differences from the paper:
1. Passes over S and Q where the algorithm counts steps (k_r, k_u), as the experiments do.
2. Which examples are S is drawn anew in every round, S being rounded down so that Q has one at
   least. The paper leaves the cut open; TFF's own process takes every other batch.
3. l_0 is the run's initial value of the layers, part of the program as frozen layers are; the paper
   draws it in every round.
4. Clients count by all their examples; the paper's n_k is the number in Q, nearly the same share of
   them at every client.
5. At evaluation the whole of the training examples is S, not a part of the test examples.
"""

import tensorflow as tf

from fl_research.algorithms.personal import private_layers
from fl_research.round import minibatches
from fl_research.round.client import Client
from fl_research.round.local_training import Trained
from fl_research.round.method import Method
from fl_research.round.structures import Weights


class FedRecon(private_layers.PrivateLayers):
  """Singhal et al. 2021, algorithm 1 (see the module's docstring).

  Args:
    private_layers: the local layers (see `private_layers.is_private`).
    support_fraction: the share of S, from 0 to below 1.
    reconstruction_epochs: k_r ≥ 1, passes over S.
    reconstruction_factor: what gradients count in them, above 0.
  """

  def __init__(
    self,
    private_layers: str,
    support_fraction: float,
    reconstruction_epochs: int,
    reconstruction_factor: float,
  ):
    super().__init__('fedrecon', private_layers)
    self._support_fraction = support_fraction
    self._epochs = reconstruction_epochs
    self._factor = reconstruction_factor

  def initial_client_state(self, weights):
    return ()

  def work(self, client, message):
    examples = minibatches.places(client.data)
    cut = tf.cast(self._support_fraction * tf.cast(examples, tf.float32), tf.int32)
    support = client.over(minibatches.section(client.data, 0, cut))
    query = client.over(minibatches.section(client.data, cut, examples))
    rebuilt = self._reconstruct(support, message)
    shared = tuple(not private for private in self.private)
    trained = query.train(rebuilt.weights, trainable=shared)
    trained = trained._replace(num_steps=rebuilt.num_steps + trained.num_steps)
    return self.reply(rebuilt.weights, trained)._replace(client_state=client.state)

  def predictor(self, server, client):
    return self.predict(self._reconstruct(client, self.message(server)).weights)

  def _reconstruct(self, client: Client, shared: Weights) -> Trained:
    """The local layers from their first values, the global ones held fixed."""
    start = self._part(self.federation.initial_weights(), private=True)
    return client.train(
      self.joined(shared, start),
      objective=client.loss.times(self._factor),
      trainable=self.private,
      passes=self._epochs,
    )


def build(
  *,
  private_layers: str,
  support_fraction: float,
  reconstruction_epochs: int,
  reconstruction_factor: float,
) -> Method:
  """The registry's entry point; the arguments are those of `FedRecon`."""
  return FedRecon(private_layers, support_fraction, reconstruction_epochs, reconstruction_factor)

"""FedAMP: the server gives each client a mixture of all models, those like its own above others.

Huang, Chu, Zhou, Wang, Liu, Pei, Zhang 2021, "Personalized Cross-Silo Federated Learning on Non-IID
Data", algorithm 1. Every client i of N has a model w_i, of which the server keeps the last that was
sent, at first the initial weights. To the clients of a round it sends

    u_i = Σ_j ξ_ij w_j,    ξ_ij = exp(-|w_i - w_j|² / σ) / N    for j ≠ i,

ξ_ii being what is left of 1, each its own, and they go on from w_i, descending

    F_i(w) + λ/2 |w - u_i|².

With `--fedamp_attention=cosine` it is HeurFedAMP, by how models point in place of where they are: a
share s (`--fedamp_own_share`) stays with the own model, and the others have

    ξ_ij = (1 - s) exp(σ cos(w_i, w_j)) / Σ_{k ≠ i} exp(σ cos(w_i, w_k)).

With λ = 0 every client trains alone. There is no global model; the mean of the w_i is what is saved
as one. A client receives a model and sends one, as in FedAvg, but the server keeps N, and so do
checkpoints; products of all pairs of them are taken in every round. It is for few clients.

Differences from the paper:
1. All clients take part in the paper's rounds. Here the models of those who are away stand as they
   were, and are attended to.
2. The paper's step size is such that no share is negative. Here it is σ/N, the largest for which
   that is so whatever the models are, and λ is what there is λ divided by the step size.
3. Clients take the steps of a round. In the paper they minimise, without saying how far.
"""

from typing import Any

import tensorflow as tf

from fl_research.aggregation import stacked
from fl_research.algorithms.optimization import fed_prox
from fl_research.algorithms.personal import kept_models
from fl_research.round.method import Method, Reply

_NO_LENGTH = 1e-30


class FedAMP(kept_models.KeptModels):
  """Huang et al. 2021 (see the module's docstring). Client and server state: w_i, and all w_i.

  Args:
    regularization: λ ≥ 0.
    sigma: σ > 0.
    attention: 'distance' or 'cosine'.
    own_share: s, from 0 to 1; of 'cosine'.
  """

  def __init__(self, regularization: float, sigma: float, attention: str, own_share: float):
    self._regularization = regularization
    self._sigma = sigma
    self._attention = attention
    self._own_share = own_share

  def initial_own(self, weights):
    return self.initial_models(weights)

  def message(self, server):
    return list(stacked.weighted_sum(server.own, self._shares(server.own)))

  def received(self, message, position):
    return [tf.gather(mixtures, position) for mixtures in message]

  def work(self, client, message):
    near = fed_prox.proximal_term(self._regularization, message)
    trained = client.train(client.state, objective=client.loss.plus(near))
    return Reply(trained.weights, list(trained.weights), trained)

  def finish(self, server, combined):
    beside = combined.update
    own = kept_models.renewed(server.own, beside.client, beside.update)
    return server._replace(own=own, weights=kept_models.mean(own, server.weights))

  def _shares(self, models: Any) -> tf.Tensor:
    """ξ, float32 [N, N]."""
    products = stacked.gram(models)
    count = self.num_clients
    others = 1.0 - tf.eye(count, dtype=tf.float64)
    if self._attention == 'distance':
      shares = others * tf.exp(-stacked.squared_distances(products) / self._sigma) / count
      own = 1.0 - tf.reduce_sum(shares, axis=1)
    else:
      lengths = tf.sqrt(tf.maximum(tf.linalg.diag_part(products), _NO_LENGTH))
      cosines = products / (lengths[:, tf.newaxis] * lengths)
      shares = others * tf.exp(self._sigma * (cosines - 1.0))
      total = tf.reduce_sum(shares, axis=1, keepdims=True)
      shares = (1.0 - self._own_share) * tf.math.divide_no_nan(shares, total)
      # All of it, where there is nobody else.
      own = 1.0 - tf.reduce_sum(shares, axis=1)
    return tf.cast(tf.linalg.set_diag(shares, own), tf.float32)


def build(*, regularization: float, sigma: float, attention: str, own_share: float) -> Method:
  """The registry's entry point; the arguments are those of `FedAMP`."""
  return FedAMP(regularization, sigma, attention, own_share)

"""Ditto: a personal model beside the global one, and tied to it.

Li, Hu, Beirami, Smith 2021, "Ditto: Fair and Robust Federated Learning Through Personalization",
algorithm 1. The global model w is FedAvg's, whatever happens besides. Every client k keeps a model
v_k of its own, which starts from the initial weights; when it takes part it also makes steps

    v_k = v_k - η (∇F_k(v_k) + λ (v_k - w_t))

with the model w_t that it received. λ = 0 is training each client alone; with λ → ∞ (and η → 0)
personal models follow the global one.

`--ditto_personal_epochs` is the number of passes of the personal steps, 0 for the same batches that
the global model is trained on.

What is reported as training loss is the personal model's, as is the evaluation; the global model is
evaluated beside it, as `global/`.

Differences from the paper:
1. The paper counts personal steps (s); here they are passes over the client's examples.
2. Personal steps have the client optimiser and its rate; the paper allows them a rate of their own.
3. The authors' code interleaves the two kinds of steps, batch by batch; as neither reads what the
   other writes, the result is the same.
"""

from fl_research.algorithms.optimization import fed_avg, fed_prox
from fl_research.round.method import Method


class Ditto(fed_avg.FedAvg):
  """Li et al. 2021, algorithm 1 (see the module's docstring). Client state: v_k.

  Args:
    regularization: λ ≥ 0.
    personal_epochs: passes of the personal steps; 0 for the batches of the global ones.
  """

  personal = True

  def __init__(self, regularization: float, personal_epochs: int):
    self._regularization = regularization
    self._personal_epochs = personal_epochs

  def initial_client_state(self, weights):
    return list(weights)

  def work(self, client, message):
    shared = super().work(client, message)
    own = client.train(
      client.state,
      objective=client.loss.plus(fed_prox.proximal_term(self._regularization, message)),
      passes=self._personal_epochs,
      sent=False,
    )
    return shared._replace(
      client_state=list(own.weights), trained=shared.trained._replace(sums=own.sums)
    )

  def predictor(self, server, client):
    return self.predict(client.state)


def build(*, regularization: float, personal_epochs: int) -> Method:
  """The registry's entry point; the arguments are those of `Ditto`."""
  return Ditto(regularization, personal_epochs)

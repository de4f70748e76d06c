"""FedBABU: the federation trains the body of a model under a head that never moves.

Oh, Kim, Yun 2022, "FedBABU: Toward Enhanced Representation for Federated Image Classification",
algorithm 1. The head, the model's last layer, stays as it was drawn. In a round clients train the
other layers, the body, from the global ones and with that head, and send their delta, which the
server averages by examples. What clients are to use comes afterwards: each of them trains the whole
model for a few epochs on its own examples, which is `--fine_tune_epochs`.

As all heads are the same from the first round to the last, bodies are trained for the same targets,
and clients keep nothing. `--fedbabu_private_layers` names the head's layers; with none of them it
is FedAvg.

Differences from the paper:
1. The head goes to the clients with every message, as a client that is new needs it.
2. Fine-tuning is part of the evaluation, and trains the whole model, of the three ways that the
   paper compares.
"""

from fl_research.algorithms.personal import private_layers
from fl_research.registry import UsageError
from fl_research.round.method import Method


class FedBABU(private_layers.PrivateLayers):
  """Oh et al. 2022, algorithm 1 (see the module's docstring).

  Args:
    private_layers: the head's layers (see `private_layers.is_private`).

  Raises:
    UsageError: they are all that the model has.
  """

  personal = False
  global_model = True

  def bind(self, federation):
    bound = super().bind(federation)
    if all(bound.private):
      raise UsageError(
        f'--fedbabu_private_layers={self._private_layers}: all layers of this model, of which the '
        'federation would train none; accepted are some of a model with more'
      )
    return bound

  def initial_client_state(self, weights):
    return ()

  def message(self, server):
    return server.weights

  def work(self, client, message):
    trained = client.train(message, trainable=self.shares(()))
    return self.reply(message, trained)._replace(client_state=client.state)

  def predictor(self, server, client):
    return self.predict(server.weights)


def build(*, private_layers: str) -> Method:
  """The registry's entry point; the argument is that of `FedBABU`."""
  return FedBABU('fedbabu', private_layers)

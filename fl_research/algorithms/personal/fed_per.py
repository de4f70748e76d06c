"""FedPer: the last layers are each client's own.

Arivazhagan, Aggarwal, Singh, Choudhary 2019, "Federated Learning with Personalization Layers",
algorithms 1 and 2. A model is a base, which is shared, and personalisation layers, which never
leave the client. In a round a client joins the global base to its own layers, trains both together
as in FedAvg, keeps the layers and sends the base's delta; the server averages bases by examples.

`--fedper_private_layers` names the layers. With none of them private it is FedAvg, with all of them
it is training each client alone. With layers of any choice it is the FedSim of Pillutla, Malik,
Mohamed, Rabbat, Sanjabi, Xiao 2022, "Federated Learning with Partial Model Personalization", but
that FedSim has a rate for each of the two parts; its FedAlt, which trains them in turn, is FedRep.

Differences from the paper:
1. The paper trains all clients in every round; here a client's layers rest while it is not drawn.
"""

from fl_research.algorithms.personal import private_layers
from fl_research.round.method import Method


class FedPer(private_layers.PrivateLayers):
  """Arivazhagan et al. 2019 (see the module's docstring)."""

  def work(self, client, message):
    start = self.joined(message, client.state)
    return self.reply(start, client.train(start))


def build(*, private_layers: str) -> Method:
  """The registry's entry point; the argument is that of `PrivateLayers`."""
  return FedPer('fedper', private_layers)

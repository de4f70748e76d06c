"""FedRep: a shared representation under heads of the clients' own.

Collins, Hassani, Mokhtari, Shakkottai 2021, "Exploiting Shared Representations for Personalized
Federated Learning", algorithm 1. In a round a client first trains its own head h for τ_h passes
with the global representation φ_t held fixed, then trains the representation with the new head held
fixed, keeps the head and sends the representation's delta; the server averages the representations
uniformly.

`--fedrep_private_layers` names the head's layers, `--fedrep_head_epochs` is τ_h;
`--client_epochs_per_round` are the passes that train the representation. With layers of any choice
it is the FedAlt of Pillutla, Malik, Mohamed, Rabbat, Sanjabi, Xiao 2022, "Federated Learning with
Partial Model Personalization", τ_v being the head's steps and τ_u the others', but that FedAlt has
a rate for each of the two parts; its FedSim, which trains both at once, is FedPer.

Differences from the paper:
1. Algorithm 1 gives the representation one gradient step; the paper's experiments, and its code,
   whole passes over the data, as here.
2. The code weighs the clients by their examples; the algorithm, and this module by default, do not
   (`--client_weighting=num_examples` does).
3. The head's passes read the round's batches from the beginning again when they are used up; a
   fresh shuffle comes with the next round only.
"""

from fl_research.algorithms.personal import private_layers
from fl_research.round.method import Method


class FedRep(private_layers.PrivateLayers):
  """Collins et al. 2021, algorithm 1 (see the module's docstring).

  Args:
    private_layers: the head's layers (see `private_layers.is_private`).
    head_epochs: τ_h ≥ 1.
  """

  def __init__(self, private_layers: str, head_epochs: int):
    super().__init__('fedrep', private_layers)
    self._head_epochs = head_epochs

  def work(self, client, message):
    start = self.joined(message, client.state)
    head = client.train(start, trainable=self.private, passes=self._head_epochs)
    shared = tuple(not private for private in self.private)
    body = client.train(head.weights, trainable=shared)
    return self.reply(start, body._replace(num_steps=head.num_steps + body.num_steps))


def build(*, private_layers: str, head_epochs: int) -> Method:
  """The registry's entry point; the arguments are those of `FedRep`."""
  return FedRep(private_layers, head_epochs)
